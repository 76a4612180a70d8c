"""What a stage writes to the home folder, compared with what is free there before it begins."""

from pathlib import Path

from optishear.disk import check_disk
from optishear.memory.model_shape import ModelShape, known_shape
from optishear.models.load import model_without_weights
from optishear.parameters.model import ModelParameters
from tasks.store.artifacts import artifacts_folder
from tasks.store.model_sources import find_model

# Of every stage: databases, journals and logs.
_RESERVE = 2**24


def check_stage_disk(stage: str, size: int) -> None:
    """Refuse a stage whose files do not fit on the disk of the home folder.

    Args:
        stage: its name.
        size: bytes that it writes there.

    Raises:
        InputError: with the folder, what is needed and what is free.
    """
    check_disk(artifacts_folder(), size + _RESERVE, f"The stage {stage}")


def checkpoint_bytes(parameters: ModelParameters) -> int:
    """Bytes of a pruned checkpoint: those of the dense one, whose dtypes it has; zero where that is not here yet."""
    folder = Path(find_model(parameters.model).location)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def shape_of_model(parameters: ModelParameters) -> ModelShape | None:
    """The shape of the model; ``None`` where it is not known without the weights."""
    model = model_without_weights(find_model(parameters.model), parameters.trust_remote_code)
    return None if model is None else known_shape(model)
