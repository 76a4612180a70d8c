"""One time for a whole run, and its split over search and recovery.

The split follows from the parameters alone. A repeated run has the same seconds for each part, and so the same keys.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

from pydantic import Field

from optishear.errors import InputError
from optishear.parameters.base import Parameters
from optishear.parameters.comparison import ComparisonParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.parameters.search import SearchParameters
from optishear.units import Duration

# Share of the time for the search.
SEARCH_SHARE = 0.2
# Share for everything else but the recovery: calibration, statistics, reconstruction, evaluations, report. These take
# as long in a long run as in a short one, so their share falls.
OTHER_SHARE_OF_FIRST_HOUR = 0.35
OTHER_SHARE_BEYOND = 0.1
# Share that SparseGPT adds to it where it is compared: one reconstruction and one evaluation.
SPARSEGPT_SHARE_OF_FIRST_HOUR = 0.05
# The method of reconstruction with the lowest perplexities.
RECONSTRUCTION = "admm"
# Below, search and recovery have less than what they take to begin.
LEAST_SECONDS = 60.0
DEFAULT_ON_CPU = Duration("30m", 1800.0)
DEFAULT_ON_GPU = Duration("2h", 7200.0)


class TimeParameters(Parameters):
    """One time for the whole run, and which parts it is for."""

    heading: ClassVar[str] = "Time"

    time: Duration | None = Field(
        None,
        description="Time for the whole run, such as 8h, split over search, reconstruction, recovery and evaluation; a "
        "sweep takes it for each sparsity. The parameters of a part replace its share. Default: 30m on a CPU, 2h on a "
        "GPU; with masks_only no limit.",
    )
    recovery: bool = Field(
        True, description="Recover the whole model after the reconstruction, in what the time leaves for it."
    )
    masks_only: bool = Field(False, description="Keep the weights as they are: no reconstruction and no recovery.")


Timed = TypeVar("Timed", bound=Parameters)


@dataclass(frozen=True)
class TimeSplit:
    """Seconds of the parts of a run; their sum is the time.

    Attributes:
        search: of the search.
        recovery: of the recovery; 0 without one.
        other: of everything else.
    """

    search: int
    recovery: int
    other: int


def split(time: Duration, recovers: bool, sparsegpt: bool) -> TimeSplit:
    """Split a time in whole seconds; without a recovery, the search has its share, too.

    Args:
        time: of the run.
        recovers: whether the run has a recovery.
        sparsegpt: whether SparseGPT is compared.
    """
    whole = int(time.seconds)
    of_first_hour = OTHER_SHARE_OF_FIRST_HOUR + (SPARSEGPT_SHARE_OF_FIRST_HOUR if sparsegpt else 0.0)
    other = round(of_first_hour * min(whole, 3600) + OTHER_SHARE_BEYOND * max(0, whole - 3600))
    search = round(SEARCH_SHARE * whole) if recovers else whole - other
    return TimeSplit(search, whole - other - search, other)


def check_time(
    time: TimeParameters,
    reconstruction: ReconstructionParameters,
    recovery: RecoveryParameters,
) -> None:
    """Refuse a time that is too short, and parts that are asked for and excluded at once.

    Raises:
        InputError: names the parameters.
    """
    if time.time is not None and time.time.seconds < LEAST_SECONDS:
        raise InputError(
            f"The time {time.time} is too short for a run; give at least {LEAST_SECONDS:g}s, or masks_only with trials."
        )
    if time.masks_only and reconstruction.reconstructs:
        part = "tuning_steps" if reconstruction.tuning_steps else "reconstruction"
        raise InputError(f"With masks_only nothing is reconstructed, but {part} is given; leave out one of them.")
    if recovery.recovers and (time.masks_only or not time.recovery):
        part = "recovery_budget" if recovery.recovery_budget is not None else "recovery_tokens"
        excluded = "masks_only" if time.masks_only else "recovery off"
        raise InputError(f"With {excluded} nothing is recovered, but {part} is given; leave out one of them.")


def with_parts(parameters: Timed, default: Duration) -> Timed:
    """The parameters with the time of each part, and the default methods; given parts stay as they are.

    Applied twice, it changes nothing more.

    Args:
        parameters: of a run, which has those of the time, the search, the reconstruction, the recovery and the
            comparison.
        default: the time where none is given.

    Raises:
        InputError: as ``check_time``.
    """
    time, search = cast(TimeParameters, parameters), cast(SearchParameters, parameters)
    reconstruction, recovery = cast(ReconstructionParameters, parameters), cast(RecoveryParameters, parameters)
    check_time(time, reconstruction, recovery)
    changes: dict[str, object] = {}
    if time.masks_only:
        changes["reconstruction"] = "none"
    elif reconstruction.reconstruction is None:
        changes["reconstruction"] = RECONSTRUCTION
    whole = time.time or (None if time.masks_only else default)
    recovers = time.recovery and not time.masks_only
    reconstructs = cast(ReconstructionParameters, parameters.model_copy(update=changes)).reconstructs
    changes_weights = reconstructs or recovery.recovers or (recovers and whole is not None)
    changes["compare_sparsegpt"] = cast(ComparisonParameters, parameters).compares_sparsegpt(changes_weights)
    if whole is not None:
        changes["time"] = whole
        parts = split(whole, recovers, bool(changes["compare_sparsegpt"]))
        if search.budget is None and search.trials is None:
            changes["budget"] = _seconds(parts.search)
        if recovers and not recovery.recovers:
            changes["recovery_budget"] = _seconds(parts.recovery)
    return parameters.model_copy(update=changes)


def _seconds(seconds: int) -> Duration:
    return Duration(f"{seconds}s", float(seconds))
