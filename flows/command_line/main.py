"""The command line ``optishear``: one command per flow, with flags from the flow's parameters."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from flows.command_line.cache import cache
from flows.command_line.champion import champion
from flows.command_line.deploy import deploy
from flows.command_line.generate import generate_command
from flows.command_line.options import GroupCommand, config_option, given_values, options_of
from flows.command_line.prove import prove_command
from flows.command_line.stopping import stops_at_once
from flows.parameters.output import OutputParameters
from flows.registry import FLOWS, FlowEntry
from flows.shared.environment import make_home, quiet_console
from flows.shared.imports import many_imports
from optishear.errors import IncompleteError, InputError
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters
from tasks.engine.retries import unanswered


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="optishear")
def cli() -> None:
    """Search, apply, evaluate and register pruning recipes for causal language models.

    Start with `optishear run --help`. It takes a Hugging Face model and a sparsity, searches a recipe whose pruned
    model stays close to the dense one, saves the pruned checkpoint, compares it with the dense model and with Wanda,
    and registers the result in MLflow.

    Every flag is also a key of the YAML file of --config, with underscores: --search-sequences is search_sequences.
    Flags override the file. OPTISHEAR_HOME is the folder of the cached artifacts; the default is ~/.optishear.
    """


def _add(entry: FlowEntry) -> None:
    def run(**_: Any) -> None:
        context = click.get_current_context()
        config: Path | None = context.params["config"]
        parameters = read_parameters(entry.parameters, given_values(context, entry.parameters), config)
        _run_flow(entry, parameters)

    text = entry.help  # read from a file each time
    cli.add_command(
        GroupCommand(
            entry.command,
            group=entry.parameters,
            callback=run,
            params=[*options_of(entry.parameters), config_option()],
            help=text,
            short_help=text.split("\n", 1)[0],
        )
    )


def _run_flow(entry: FlowEntry, parameters: Parameters) -> None:
    """Check, run the flow, print its summary. Only from here on are Prefect, PyTorch and MLflow imported."""
    make_home()
    try:
        with many_imports():
            from flows.shared.checks import checked
            from flows.shared.output_folder import output_folder
            from flows.shared.own_runs import own_runs
            from flows.shared.prefect_server import check_server
            from flows.shared.titled_flow import disks_in_sentences
    except ModuleNotFoundError as error:
        if error.name not in ("prefect", "mlflow"):
            raise
        raise InputError(
            f"The command line needs the package {error.name!r}; install it with: pip install 'optishear[pipeline]'"
        ) from None
    quiet_console()
    check_server()
    folder = output_folder(entry.command, parameters) if isinstance(parameters, OutputParameters) else nullcontext()
    # The checks come before the flow, so that bad input is reported at once, without starting a server.
    with folder, disks_in_sentences(parameters), checked(parameters), own_runs(entry.command, parameters):
        flow: Callable[[Parameters], Any] = getattr(import_module(f"flows.{entry.module}"), entry.module)
        summary = flow(parameters)
    click.echo(summary)


def main(arguments: list[str] | None = None) -> None:
    """The console script: bad input is one sentence on standard error and exit code 2."""
    with stops_at_once():
        try:
            cli.main(args=arguments, prog_name="optishear", standalone_mode=False)
        except InputError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except IncompleteError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            raise KeyboardInterrupt from None
        except Exception as error:
            sentence = unanswered(error)
            if sentence is None:
                raise
            click.echo(f"Error: {sentence}", err=True)
            sys.exit(1)


for _entry in FLOWS:
    _add(_entry)
cli.add_command(generate_command)
cli.add_command(prove_command)
cli.add_command(cache)
cli.add_command(champion)
cli.add_command(deploy)
