"""The plan of a night: the pipelines to run, from a YAML file."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.parameters.nightly import NightlyParameters
from flows.parameters.pipeline import PipelineParameters
from flows.shared.output_inputs import check_output
from optishear.errors import InputError
from optishear.parameters.read import read_mapping, read_parameters
from optishear.parameters.time_split import check_time


@dataclass(frozen=True)
class PlannedRun:
    """One pipeline of the night: its name and its parameters."""

    name: str
    parameters: PipelineParameters


def read_plan(file: Path) -> list[PlannedRun]:
    """Read a plan and check all of it, except the models.

    Its key ``runs`` is a list of mappings of the pipeline's parameters; ``defaults`` applies to all of them. A run
    without its own ``output`` gets a folder within that of the defaults, named after its model and sparsity.

    Raises:
        InputError: one sentence on the first thing that is wrong, naming the run.
    """
    content = read_mapping(file)
    unknown = sorted(set(content) - {"defaults", "runs"})
    if unknown:
        raise InputError(f"The plan {str(file)!r} has the key {unknown[0]!r}; the known ones are defaults and runs.")
    defaults, runs = content.get("defaults") or {}, content.get("runs")
    if not isinstance(defaults, dict):
        raise InputError(f"The defaults of the plan {str(file)!r} are no mapping of parameter names to values.")
    if not isinstance(runs, list) or not runs or not all(isinstance(run, dict) for run in runs):
        raise InputError(f"The plan {str(file)!r} needs runs, a list of mappings of parameter names to values.")
    planned = [_planned(defaults, run, f"run {number} of {str(file)!r}") for number, run in enumerate(runs, 1)]
    _check_outputs(planned, file)
    return planned


def _check_outputs(planned: list[PlannedRun], file: Path) -> None:
    """Refuse two runs of which one writes into the folder of the other; each folder is resolved once."""
    resolved = [run.parameters.output.resolve() for run in planned]
    outputs = {folder: run.parameters.output for folder, run in zip(resolved, planned, strict=True)}
    shared = {folder for folder, runs in Counter(resolved).items() if runs > 1}
    for run, own in zip(planned, resolved, strict=True):
        folder = run.parameters.output
        outer = own if own in shared else next((parent for parent in own.parents if parent in outputs), None)
        if outer is not None:
            within = "" if outer == own else f", which is within {str(outputs[outer])!r}"
            raise InputError(
                f"Two runs of {str(file)!r} write to {str(folder)!r}{within}; give one of them its own output."
            )


def check_plan(parameters: NightlyParameters) -> None:
    """Refuse a plan that cannot be read, or a run of it whose output folder is not apart from its inputs.

    Raises:
        InputError: one sentence on the first thing that is wrong.
    """
    for run in read_plan(parameters.plan):
        check_output(run.parameters, ("plan", parameters.plan))


def _planned(defaults: dict[str, Any], run: dict[str, Any], place: str) -> PlannedRun:
    try:
        parameters = read_parameters(PipelineParameters, {**defaults, **run})
        check_time(parameters, parameters, parameters)
    except InputError as error:
        raise InputError(f"In {place}: {error}") from None
    model = Path(parameters.model).name.removeprefix("package:")
    name = f"{model} {parameters.sparsity}"
    if "output" not in run:
        folder = re.sub(r"[^\w.-]", "-", name)
        parameters = parameters.model_copy(update={"output": parameters.output / folder})
    return PlannedRun(name, parameters)
