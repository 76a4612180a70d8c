"""The time of a run: its default on the device at hand, and what more of it would bring."""

from flows.parameters.pipeline import PipelineParameters
from optishear.models.devices import resolve_device
from optishear.parameters.time_split import DEFAULT_ON_CPU, DEFAULT_ON_GPU, split, with_parts
from optishear.timing.speed import Speed
from optishear.timing.stage_times import recovered_tokens
from optishear.units import Duration, format_seconds
from tasks.engine.placement import uses_deployments

NIGHT = Duration("8h", 28800.0)


def with_planned_time(parameters: PipelineParameters) -> PipelineParameters:
    """The parameters of a run with the time of each part; given parts stay as they are.

    Raises:
        InputError: if the time is too short, or a part is asked for and excluded at once.
    """
    on_gpu = uses_deployments(parameters) or resolve_device(parameters.device).type != "cpu"
    return with_parts(parameters, DEFAULT_ON_GPU if on_gpu else DEFAULT_ON_CPU)


def time_in_words(parameters: PipelineParameters, speed: Speed, expected: float) -> str:
    """How the time of a run is used, what a night would bring, and whether the time is too short; empty without a time.

    Args:
        parameters: of the run, with the time of each part.
        speed: measured on this machine.
        expected: seconds that all stages are expected to take.
    """
    time, budget = parameters.time, parameters.recovery_budget
    if time is None:
        return ""
    search = f"{format_seconds(parameters.budget.seconds)} of search" if parameters.budget else "a search by trials"
    sentences = [f"Time {time}: {search}"]
    if budget is not None:
        length = parameters.sequence_length
        sentences[0] += (
            f", {format_seconds(budget.seconds)} of recovery, on about "
            f"{recovered_tokens(speed, budget.seconds, parameters, length):,} tokens"
        )
        if time.seconds < NIGHT.seconds:
            seconds = split(NIGHT, recovers=True, sparsegpt=parameters.with_sparsegpt).recovery
            tokens = recovered_tokens(speed, seconds, parameters, length)
            sentences.append(f"A night on this machine (--time {NIGHT}) would recover on about {tokens:,} tokens")
    if expected > 1.1 * time.seconds:
        sentences.append(f"All stages together are expected to take longer than this time: {format_seconds(expected)}")
    return ". ".join(sentences) + "."
