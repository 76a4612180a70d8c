"""The command ``prove``: an export in its engine, next to its dense form."""

from pathlib import Path
from typing import Any

import click

from flows.command_line.options import GroupCommand, config_option, given_values, options_of
from optishear.parameters.proof import ProveParameters
from optishear.parameters.read import read_parameters

_HELP = """Show whether an export is faster where it runs, and say so where it is not.

Loads the export in the engine that it is for: llama.cpp for gguf, the kernels of optishear for bitmask, transformers
for dense. For fp8-2of4, whose engine needs a GPU, the values of FP8 are computed in bfloat16. Compares its outputs
with those of the dense form of the same weights, counts the layers that run without their zeros, and measures tokens
per second and memory of both on the CPU. Writes proof.json beside the weights and the table into the model card.

\b
Example:
  optishear prove packed
"""


def _run(**_: Any) -> None:
    context = click.get_current_context()
    config: Path | None = context.params["config"]
    given = given_values(context, ProveParameters)
    if context.params["export"] is not None:
        given["folder"] = context.params["export"]
    parameters = read_parameters(ProveParameters, given, config)
    from flows.shared.environment import make_home
    from optishear.serving.proof import export_folder, prove
    from optishear.serving.proof_page import proof_table, write_proof

    make_home()
    proof = prove(parameters)
    write_proof(export_folder(parameters.folder), proof)
    click.echo(proof_table(proof), nl=False)


prove_command = GroupCommand(
    "prove",
    group=ProveParameters,
    callback=_run,
    params=[
        click.Argument(["export"], required=False, metavar="DIR"),
        *options_of(ProveParameters),
        config_option(),
    ],
    help=_HELP,
    short_help=_HELP.split("\n", 1)[0],
)
