"""Footprint of a model: bytes on disk, bytes in memory, and decoding speed."""

from collections import Counter

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.inference.decode import decode
from optishear.models.devices import devices_of

# A gain in speed below this is not told from the noise of a machine with other work.
GAIN = 1.1
# A prompt as long as a short question, and as many new tokens as a median needs, bounded for big models.
_PROMPT_TOKENS, _NEW_TOKENS, _SECONDS = 16, 24, 15.0


class Footprint(BaseModel):
    """Footprint of a model in one format.

    Attributes:
        disk_bytes: size of its weight files.
        memory_bytes: size of its weights and buffers in memory; tied ones count once.
        tokens_per_second: of greedy decoding of one sequence, token by token; the median.
        device: ``cpu``, or the name of the GPU or GPUs.
        sparse_layers: number of layers that ran without their zeros; ``None`` where an earlier version measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    disk_bytes: int
    memory_bytes: int
    tokens_per_second: float
    device: str
    sparse_layers: int | None = None


def measure_footprint(model: PreTrainedModel, disk_bytes: int, sparse_layers: int = 0) -> Footprint:
    """Measure a loaded model; takes some seconds, 15 at most beside one token.

    Args:
        model: on any device, with any kind of layers.
        disk_bytes: size of its files.
        sparse_layers: number of its layers that run without their zeros.
    """
    vocabulary = model.config.get_text_config().vocab_size
    prompt = torch.arange(_PROMPT_TOKENS, device=model.device)[None] % vocabulary
    decoded = decode(model, prompt, _NEW_TOKENS, seconds=_SECONDS)
    return Footprint(
        disk_bytes=disk_bytes,
        memory_bytes=memory_bytes(model),
        tokens_per_second=round(decoded.tokens_per_second, 2),
        device=device_name(*devices_of(model)),
        sparse_layers=sparse_layers,
    )


def device_name(*devices: torch.device) -> str:
    """``cpu``, or the name of the GPU; of several, how many of each name, such as ``8 × NVIDIA H100``."""
    names = Counter(torch.cuda.get_device_name(each) if each.type == "cuda" else each.type for each in devices)
    if len(devices) == 1:
        return next(iter(names))
    return ", ".join(f"{count} × {name}" for name, count in names.items())


def memory_bytes(model: nn.Module, device: torch.device | None = None) -> int:
    """Bytes of a model's weights and buffers; tied ones count once.

    Args:
        model: on any devices.
        device: counts those on it alone; ``cuda`` without a number is the first GPU.
    """
    tensors = [inner for tensor in (*model.parameters(), *model.buffers()) for inner in _inner_tensors(tensor)]
    return sum({id(tensor): tensor.nbytes for tensor in tensors if device is None or _is_on(tensor, device)}.values())


def _is_on(tensor: Tensor, device: torch.device) -> bool:
    return (tensor.device.type, tensor.device.index or 0) == (device.type, device.index or 0)


def _inner_tensors(tensor: Tensor) -> list[Tensor]:
    """The tensors that hold a tensor's numbers: itself, unless it wraps others, as a semi-structured one does.

    The size of a wrapper is that of the dense tensor it represents. The wrapped tensors are listed by the protocol
    ``torch.utils._python_dispatch.TensorWithFlatten``.
    """
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        return [tensor]
    return [inner for name in flatten()[0] for inner in _inner_tensors(getattr(tensor, name))]
