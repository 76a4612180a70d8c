"""The expected time of a run: announced when it begins, and kept up to date by its stages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.statistics import StatisticsParameters
from flows.shared.planned_time import time_in_words
from flows.shared.stage_plan import planned_stages, stored_artifacts
from optishear.calibration.calibrate import SELF
from optishear.errors import HubError, InputError, first_line
from optishear.timing.evaluation_work import EvaluationWork
from optishear.timing.speed import Speed
from optishear.units import format_seconds
from tasks.engine.parameter_groups import part
from tasks.engine.timetable import Timetable, keep_time
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.parameters import SpeedStageParameters
from tasks.stages.speed import load_speed, speed_stage
from tasks.store.artifacts import Artifact

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
    stages = planned_stages(parameters)
    cached = stored_artifacts(stages).keys()
    if all(stage.label in cached for stage in stages if stage.expensive):
        return None
    try:
        steps = sorted({step for stage in stages for step in stage.steps})
        measurement = load_speed(speed_stage(part(parameters, SpeedStageParameters), steps))
        expected = expected_times(parameters, measurement.speed, measurement.evaluation)
    except (InputError, HubError):  # which fail all other stages as well
        raise
    except Exception as error:
        logger.warning("The time of the run cannot be estimated: %s", first_line(error))
        return None
    timetable = Timetable({label: 0.0 if label in cached else seconds for label, seconds in expected.items()})
    logger.info("%s", announcement(timetable, measurement.speed))
    if isinstance(parameters, PipelineParameters) and parameters.time is not None:
        logger.info("%s", time_in_words(parameters, measurement.speed, timetable.left()))
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
    return {stage.label: stage.seconds(speed, evaluation) for stage in planned_stages(parameters) if stage.announced}
