"""The expected time of a run: announced when it begins, and kept up to date by its stages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.transfer import TransferParameters
from flows.shared.recipes import recipe_of
from optishear.calibration.calibrate import SELF
from optishear.errors import InputError, first_line
from optishear.file_names import CHECKPOINT
from optishear.recipes.recipe import Recipe, published_beside
from optishear.timing.evaluation_work import EvaluationWork
from optishear.timing.measure import Step
from optishear.timing.search_time import search_seconds
from optishear.timing.speed import Speed
from optishear.timing.stage_times import (
    calibrate_seconds,
    diagnose_seconds,
    evaluate_seconds,
    footprint_seconds,
    prune_seconds,
    reconstruct_seconds,
    statistics_seconds,
)
from optishear.units import format_seconds
from tasks.engine.parameter_groups import part
from tasks.engine.placement import uses_deployments
from tasks.engine.timetable import Timetable, keep_time
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.evaluate import evaluate_stage
from tasks.stages.parameters import EvaluateStageParameters, SpeedStageParameters
from tasks.stages.prune import prune_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.speed import load_speed, speed_stage
from tasks.stages.statistics import statistics_stage
from tasks.store.artifacts import Artifact

# Figures and page.
_REPORT_SECONDS = 3.0
logger = logging.getLogger("optishear.stages")


@contextmanager
def timed_run(parameters: StatisticsParameters) -> Iterator[Artifact]:
    """Calibrate, announce the expected time of the other stages, and let them report to it; yields the calibration.

    A text is read before anything is measured, since one that is too short is refused then. Text that the model
    generates takes long, and comes after the announcement. A run goes on without an estimate where the model cannot be
    measured; its stages then report the reason.
    """
    calibration = calibrate_stage(parameters) if parameters.calibration != SELF else None
    with keep_time(_timetable(parameters)):
        yield calibration or calibrate_stage(parameters)


def _timetable(parameters: StatisticsParameters) -> Timetable | None:
    cached = _cached(parameters)
    if _expensive(parameters) <= cached:
        return None
    try:
        settings = part(parameters, SpeedStageParameters)
        measurement = load_speed(speed_stage(settings, sorted(_steps(parameters))))
        expected = expected_times(parameters, measurement.speed, measurement.evaluation)
    except InputError:
        raise
    except Exception as error:
        logger.warning("The time of the run cannot be estimated: %s", first_line(error))
        return None
    timetable = Timetable({label: 0.0 if label in cached else seconds for label, seconds in expected.items()})
    logger.info("%s", announcement(timetable, measurement.speed))
    return timetable


def announcement(timetable: Timetable, speed: Speed) -> str:
    """The total expected time, that of each stage, and the measurement behind them."""
    lines = [
        f"Expected time: about {format_seconds(timetable.left())}, from a pass measured on {speed.processor} "
        f"({speed.dtype}, {speed.threads} threads)"
    ]
    width = max(len(label) for label in timetable.expected)
    for label, seconds in timetable.expected.items():
        time = "not estimated" if seconds is None else "kept from an earlier run" if not seconds else None
        lines.append(f"  {label:<{width}}  {time or format_seconds(seconds or 0.0)}")
    return "\n".join(lines)


def expected_times(
    parameters: StatisticsParameters, speed: Speed, evaluation: EvaluationWork
) -> dict[str, float | None]:
    """Expected seconds of each stage by its label, in the order in which they run.

    A stage is not estimated (``None``) if another machine than the measured one computes it.
    """
    sequences, length = parameters.sequences, parameters.sequence_length
    expected: dict[str, float | None] = {}
    if parameters.calibration == SELF:
        generated_elsewhere = uses_deployments(parameters)
        expected["calibrate"] = None if generated_elsewhere else calibrate_seconds(speed, parameters)
    expected["statistics"] = statistics_seconds(speed, sequences, length)
    if isinstance(parameters, SearchFlowParameters):
        expected["search"] = search_seconds(speed, parameters, parameters.sparsity, sequences, length)
    if not isinstance(parameters, PruneAndEvaluateParameters):
        return expected
    evaluate = evaluate_seconds(speed, evaluation)
    expected |= {"evaluate dense": evaluate, "evaluate wanda": evaluate, "prune": prune_seconds(speed)}
    if parameters.reconstructs:
        windows = EvaluationWork(windows=evaluation.windows)
        expected["evaluate masked"] = evaluate_seconds(speed, windows)
        expected["reconstruct"] = reconstruct_seconds(speed, parameters, sequences, length)
    expected["evaluate pruned"] = evaluate
    expected["diagnose"] = diagnose_seconds(speed, sequences, length, methods=3 if parameters.reconstructs else 2)
    if parameters.footprint:
        expected |= {"footprint dense": footprint_seconds(speed), "footprint pruned": 2 * footprint_seconds(speed)}
    return {**expected, "report": _REPORT_SECONDS}


def _expensive(parameters: StatisticsParameters) -> set[str]:
    """The stages that justify a measurement."""
    stages = {"calibrate", "statistics"}
    if isinstance(parameters, SearchFlowParameters):
        stages.add("search")
    if isinstance(parameters, PruneAndEvaluateParameters):
        stages |= {"evaluate dense", "evaluate wanda", "evaluate pruned"}
        if parameters.reconstructs:
            stages |= {"reconstruct", "evaluate masked"}
    return stages


def _cached(parameters: StatisticsParameters) -> set[str]:
    """The stages that are in the store, as far as their keys are known before the run."""
    cached: set[str] = set()
    dense = part(parameters, EvaluateStageParameters) if isinstance(parameters, PruneAndEvaluateParameters) else None
    if dense is not None and evaluate_stage.find(dense):
        cached.add("evaluate dense")
    calibration = calibrate_stage.find(parameters)
    statistics = statistics_stage.find(parameters, calibration) if calibration else None
    if calibration is None or statistics is None:
        return cached | ({"calibrate"} if calibration else set())
    cached |= {"calibrate", "statistics"}
    recipe = None
    if isinstance(parameters, SearchFlowParameters):
        search = search_stage.find(parameters, calibration, statistics)
        if search is not None:
            cached.add("search")
            recipe = load_recipe(search)
    elif isinstance(parameters, TransferParameters):
        recipe = recipe_of(parameters)
    if isinstance(parameters, PruneAndEvaluateParameters) and recipe is not None:
        cached |= _cached_of_recipe(parameters, recipe, calibration, statistics)
    return cached


def _cached_of_recipe(
    parameters: PruneAndEvaluateParameters, recipe: Recipe, calibration: Artifact, statistics: Artifact
) -> set[str]:
    """The stages that prune and evaluate, and are in the store."""
    cached = set()
    wanda = published_beside("wanda", recipe)
    if evaluate_stage.find(part(parameters, EvaluateStageParameters), wanda, statistics):
        cached.add("evaluate wanda")
    pruned = prune_stage.find(parameters, recipe, statistics)
    if pruned is not None:
        cached.add("prune")
    if parameters.reconstructs:
        if pruned is not None:
            model = str(pruned.path(CHECKPOINT))
            if evaluate_stage.find(part(parameters, EvaluateStageParameters, model=model, tasks=[])):
                cached.add("evaluate masked")
        pruned = reconstruct_stage.find(parameters, recipe, calibration, statistics)
        if pruned is not None:
            cached.add("reconstruct")
    if pruned is not None:
        model = str(pruned.path(CHECKPOINT))
        if evaluate_stage.find(part(parameters, EvaluateStageParameters, model=model)):
            cached.add("evaluate pruned")
    return cached


def _steps(parameters: StatisticsParameters) -> set[Step]:
    """The steps to measure for the stages of a run.

    They do not depend on the store, so that a repeated run requests the same measurement.
    """
    steps: set[Step] = {"statistics"}
    if parameters.calibration == SELF and not uses_deployments(parameters):
        steps.add("decode")
    if isinstance(parameters, SearchFlowParameters):
        steps.add("search")
    if isinstance(parameters, PruneAndEvaluateParameters):
        steps.add("window")
        if parameters.reconstructs:
            steps.add("reconstruction")
    return steps
