"""The command line ``optishear``: one command per flow, its flags made from the flow's parameters."""

import inspect
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from flows.command_line.cache import cache
from flows.command_line.deploy import deploy
from flows.command_line.generate import generate_command
from flows.command_line.options import GroupCommand, config_option, given_values, options_of
from flows.parameters.calibrate import CalibrateParameters
from flows.parameters.compare import CompareParameters
from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.evaluate import EvaluateParameters
from flows.parameters.export import ExportParameters
from flows.parameters.nightly import NightlyParameters
from flows.parameters.output import OutputParameters
from flows.parameters.pipeline import PipelineParameters
from flows.parameters.prune import PruneParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.sweep import SweepParameters
from flows.parameters.transfer import TransferParameters
from flows.parameters.transplant import TransplantParameters
from flows.shared.environment import make_home, quiet_console
from optishear.errors import IncompleteError, InputError
from optishear.parameters.base import Parameters
from optishear.parameters.read import read_parameters


@dataclass(frozen=True)
class Command:
    """A command: the flow ``flows.MODULE.FUNCTION`` over a parameter group."""

    name: str
    flow: str
    group: type[Parameters]
    help: str


COMMANDS = [
    Command(
        "run",
        "flows.pipeline:pipeline",
        PipelineParameters,
        """Search a recipe, prune the model, evaluate it, and register the result.

        Writes to --output: calibration.parquet, statistics.parquet, trials.parquet, recipe.yaml, front/ (the other
        non-dominated recipes), model/ (the pruned checkpoint), diagnosis/ (errors layer by layer), metrics.json,
        comparison.parquet and report.html. Stages that an earlier run computed from the same input are not repeated.

        \b
        Example:
          optishear run --model HuggingFaceTB/SmolLM2-135M --sparsity 0.5 --output pruned
        """,
    ),
    Command(
        "calibrate",
        "flows.calibrate:calibrate",
        CalibrateParameters,
        """Cut calibration text into token blocks of one length.

        Writes calibration.parquet to --output.

        \b
        Example:
          optishear calibrate --model HuggingFaceTB/SmolLM2-135M --calibration hub:allenai/c4/en --output blocks
        """,
    ),
    Command(
        "statistics",
        "flows.statistics:statistics",
        StatisticsParameters,
        """Measure activation statistics of the dense model: squared norms of each layer's inputs.

        Writes calibration.parquet and statistics.parquet to --output.

        \b
        Example:
          optishear statistics --model HuggingFaceTB/SmolLM2-135M --calibration notes.jsonl --output measured
        """,
    ),
    Command(
        "search",
        "flows.search:search",
        SearchFlowParameters,
        """Search a pruning recipe, without pruning or evaluating.

        Writes calibration.parquet, statistics.parquet, trials.parquet, recipe.yaml and front/ to --output. A search
        that was stopped resumes when the command is repeated.

        \b
        Example:
          optishear search --model HuggingFaceTB/SmolLM2-135M --sparsity 2:4 --budget 2h --output found
        """,
    ),
    Command(
        "compare",
        "flows.compare:compare",
        CompareParameters,
        """Search with several algorithms and seeds at one budget, and plot the best value against trials.

        Writes algorithms.html, algorithms.parquet (the best value of each search after each trial; a search that ends
        before the longest one keeps its best) and algorithms.png to --output.

        \b
        Example:
          optishear compare --algorithms nsga3,evopress,random --seeds 0,1,2 --trials 200 --output compared
        """,
    ),
    Command(
        "sweep",
        "flows.sweep:sweep",
        SweepParameters,
        """Do `run` at several sparsities, and plot perplexity against sparsity.

        Calibration, statistics, the measurements of the search and the evaluation of the dense model are shared. Writes
        to --output: a folder for each sparsity with the files of `run`, and sweep.html, sweep.parquet, sweep.png and
        metrics.json over all of them. If a sparsity fails, the others are written; repeat the command to try it again.

        \b
        Example:
          optishear sweep --model HuggingFaceTB/SmolLM2-135M --sparsities 0.5,0.6,0.7,2:4 --output swept
        """,
    ),
    Command(
        "prune",
        "flows.prune:prune",
        PruneParameters,
        """Apply a recipe to a model and save the pruned checkpoint.

        Writes calibration.parquet, statistics.parquet, recipe.yaml and model/ to --output. A recipe file has its
        own sparsity; --sparsity is for the named recipes.

        \b
        Example:
          optishear prune --model HuggingFaceTB/SmolLM2-135M --recipe found/recipe.yaml --output pruned
        """,
    ),
    Command(
        "evaluate",
        "flows.evaluate:evaluate",
        EvaluateParameters,
        """Evaluate one model: perplexity on a text, and lm-eval tasks.

        Writes metrics.json to --output.

        \b
        Example:
          optishear evaluate --model pruned/model --tasks arc_easy,boolq --limit 200 --output scores
        """,
    ),
    Command(
        "export",
        "flows.export:export",
        ExportParameters,
        """Write a checkpoint in another format, with the same weights.

        Writes model/ to --output. The bitmask format leaves the zeros out: a bfloat16 layer at 50 % takes 0.56 of its
        dense bytes. Every command takes such a folder as --model; export it as dense for AutoModelForCausalLM.

        \b
        Example:
          optishear export --model pruned/model --format bitmask --output packed
        """,
    ),
    Command(
        "transfer",
        "flows.transfer:transfer",
        TransferParameters,
        """Apply a recipe found on another model to this one, and compare it with Wanda on this model.

        Layer ratios are mapped by relative depth. Writes the files of `run`, except those of a search.

        \b
        Example:
          optishear transfer --recipe found/recipe.yaml --model HuggingFaceTB/SmolLM2-360M --output transferred
        """,
    ),
    Command(
        "transplant",
        "flows.transplant:transplant",
        TransplantParameters,
        """Combine a recipe's layer ratios with other metrics, and compare with uniform, OWL and AlphaPruning ratios.

        Writes transplant.parquet (one row for each metric and ratios), .png and .html to --output. Cells are
        cached; repeat the command to compute only those that failed.

        \b
        Example:
          optishear transplant --recipe found/recipe.yaml --model HuggingFaceTB/SmolLM2-135M --output transplanted
        """,
    ),
    Command(
        "cross-task",
        "flows.cross_task:cross_task",
        CrossTaskParameters,
        """Search on each of several texts, and evaluate each recipe on every text.

        Writes cross-task.parquet (one row for each pair), a page, heat maps against Wanda and against each text's own
        recipe, and recipes/ to --output. The evaluation uses held-out text.

        \b
        Example:
          optishear cross-task --calibration self --other-calibrations c4=c4.jsonl,math=gsm8k.jsonl --output crossed
        """,
    ),
    Command(
        "cross-model",
        "flows.cross_model:cross_model",
        CrossModelParameters,
        """Search on each of several models, and apply each recipe to every model.

        Writes cross-model.parquet (one row for each pair), a page, heat maps against each model's Wanda and against its
        own recipe, and recipes/ to --output. With --universal, one recipe is searched for all models at once and
        compared with them. Models may differ in size and family: layer ratios are mapped by relative depth.

        \b
        Example:
          optishear cross-model --model HuggingFaceTB/SmolLM2-135M --other-models Qwen/Qwen3-0.6B --output crossed
        """,
    ),
    Command(
        "nightly",
        "flows.nightly:nightly",
        NightlyParameters,
        """Run several pipelines from a plan in a YAML file.

        If a run fails, the others continue, and the reasons are listed at the end. `optishear deploy` puts the plan on
        a schedule.

        \b
        Example:
          optishear nightly --plan configurations/nightly.yaml
        """,
    ),
]


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


def _add(command: Command) -> None:
    def run(**_: Any) -> None:
        context = click.get_current_context()
        config: Path | None = context.params["config"]
        parameters = read_parameters(command.group, given_values(context, command.group), config)
        _run_flow(command.flow, parameters)

    cli.add_command(
        GroupCommand(
            command.name,
            group=command.group,
            callback=run,
            params=[*options_of(command.group), config_option()],
            help=command.help,
            short_help=inspect.cleandoc(command.help).split("\n", 1)[0],
        )
    )


def _run_flow(entry: str, parameters: Parameters) -> None:
    """Check, run the flow, print its summary. Only from here on are Prefect, PyTorch and MLflow imported."""
    make_home()
    try:
        from flows.shared.checks import check
        from flows.shared.output_folder import output_folder
    except ModuleNotFoundError as error:
        if error.name not in ("prefect", "mlflow"):
            raise
        raise InputError(
            f"The command line needs the package {error.name!r}; install it with: pip install 'optishear[pipeline]'"
        ) from None
    # Before the flow, so that bad input is reported at once, without starting a server.
    with output_folder(parameters.output) if isinstance(parameters, OutputParameters) else nullcontext():
        check(parameters)
        quiet_console()
        module, name = entry.split(":")
        flow: Callable[[Parameters], Any] = getattr(import_module(module), name)
        summary = flow(parameters)
    click.echo(summary)


def main(arguments: list[str] | None = None) -> None:
    """The console script: bad input is one sentence on standard error and exit code 2."""
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
        click.echo("Stopped. Repeat the command to resume.", err=True)
        sys.exit(130)


for _command in COMMANDS:
    _add(_command)
cli.add_command(generate_command)
cli.add_command(cache)
cli.add_command(deploy)
