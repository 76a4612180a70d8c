"""The state of a recovery in a safetensors file, from which a killed one goes on."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from optishear.files import write_aside
from optishear.formats.safetensors_writer import Entry, safetensors_writer
from optishear.recovery.curve import CurvePoint
from optishear.recovery.rule import Rule
from optishear.recovery.text_stream import Position

_METADATA = "recovery"


class RecoveryState(BaseModel):
    """What a recovery has done so far, beside its tensors.

    Attributes:
        tokens: trained on.
        steps: of the optimizer.
        seconds: that it took, with its checks.
        positions: the place of the next block in each text.
        rule: of the steps; ``None`` before the first.
        curve: the checks; the first is that of the model before any step.
        checks: number of shares of the budget that were checked.
        halvings: how often the width of the steps was halved, since the held-out divergence had risen.
        hastened_at: share of the budget after which the rest of the schedule was hastened, since nothing was gained;
            else ``None``.
    """

    model_config = ConfigDict(frozen=True)

    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    positions: tuple[Position, ...] = ()
    rule: Rule | None = None
    curve: tuple[CurvePoint, ...] = ()
    checks: int = 0
    halvings: int = 0
    hastened_at: float | None = None


def save_state(path: Path, state: RecoveryState, tensors: Mapping[str, Tensor]) -> None:
    """Write a state, whole or not at all, one tensor at a time.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    entries = {name: Entry(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    with (
        write_aside(path) as aside,
        safetensors_writer(aside, entries, {_METADATA: state.model_dump_json()}) as writer,
    ):
        for name, tensor in tensors.items():
            writer.write(name, tensor.detach().cpu())


def load_state(path: Path) -> tuple[RecoveryState, dict[str, Tensor]] | None:
    """A state that ``save_state`` wrote; ``None`` where there is none, or none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            state = RecoveryState.model_validate_json((file.metadata() or {})[_METADATA])
            return state, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (OSError, SafetensorError, KeyError, ValidationError):
        return None
