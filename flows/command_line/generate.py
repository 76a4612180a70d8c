"""The command ``optishear generate``. It is not a flow, since it stores nothing."""

from pathlib import Path
from typing import Any

import click

from flows.command_line.options import GroupCommand, config_option, given_values, options_of
from optishear.parameters.generation import GenerateParameters
from optishear.parameters.read import read_parameters

_HELP = """Continue a text by greedy decoding, with the sparse kernels of the device.

On a CPU, pruned layers stay packed in memory; on an NVIDIA GPU, 2:4 pruned layers run as PyTorch's semi-structured
tensors. The text goes to standard output, speed and memory to standard error.

\b
Example:
  optishear generate --model packed/model --prompt "The capital of France is"
"""


def _run(**_: Any) -> None:
    context = click.get_current_context()
    config: Path | None = context.params["config"]
    parameters = read_parameters(GenerateParameters, given_values(context, GenerateParameters), config)
    from flows.shared.environment import make_home
    from optishear.inference.generate import generate
    from optishear.units import format_bytes

    make_home()
    generated = generate(parameters)
    click.echo(parameters.prompt + generated.text)
    click.echo(
        f"{generated.tokens} tokens, {generated.tokens_per_second:.1f} tokens/s, "
        f"{format_bytes(generated.memory_bytes)} of weights in memory, {generated.sparse_layers} sparse layers",
        err=True,
    )


generate_command = GroupCommand(
    "generate",
    group=GenerateParameters,
    callback=_run,
    params=[*options_of(GenerateParameters), config_option()],
    help=_HELP,
    short_help=_HELP.split("\n", 1)[0],
)
