"""The memory that a stage needs, in parts."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# Share of a stage's memory that the allocator's rounding takes, and what libraries allocate for themselves.
_ROUNDING, _LIBRARIES = 0.03, 2**28


@dataclass(frozen=True)
class Need:
    """Bytes that a stage needs at its peak.

    Attributes:
        stage: its name.
        parts: bytes on the device, by what they hold.
        host: bytes in the host's memory beside those on the device, by what they hold.
        ways: how the stage does its work in less memory than by default, in words for the log.
    """

    stage: str
    parts: Mapping[str, int]
    host: Mapping[str, int] = field(default_factory=dict)
    ways: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes on the device."""
        return sum(self.parts.values())

    @property
    def beside_weights(self) -> int:
        """Bytes on the device beside the model's weights, once these are loaded."""
        return self.total - self.parts.get("weights", 0)


def with_workers(need: Need, workers: int, sent: int) -> Need:
    """The need of a stage and of workers on its device, each of which holds as much.

    Args:
        need: of the stage alone.
        workers: number of them.
        sent: bytes on the device through which the model reaches them.
    """
    if not workers:
        return need
    words = "one worker" if workers == 1 else f"{workers} workers"
    parts = {**need.parts, words: workers * need.total, "weights sent to them": sent}
    return replace(need, parts={name: size for name, size in parts.items() if size})


def need_at_peak(
    stage: str,
    *moments: Mapping[str, int],
    host: Mapping[str, int] | None = None,
    ways: tuple[str, ...] = (),
) -> Need:
    """The need of a stage at the moment of its work at which it holds most.

    Args:
        stage: its name.
        moments: bytes on the device at one moment each, by what they hold.
        host: bytes in the host's memory.
        ways: as in ``Need``.
    """
    peak = max(moments, key=lambda parts: sum(parts.values()))
    reserve = round(_ROUNDING * sum(peak.values())) + _LIBRARIES
    parts = {name: size for name, size in peak.items() if size}
    return Need(stage, {**parts, "reserve": reserve}, host or {}, ways)
