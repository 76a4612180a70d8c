"""How torchao runs each layer of a checkpoint: FP8 with 2:4, dense FP8, or bfloat16."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.formats.stored import StoredCheckpoint
from optishear.inference.semi_structured import is_two_of_four
from optishear.models.layers import PrunableLayer, prunable_layers

Run = Literal["sparse", "dense", "bfloat16"]
# vLLM makes one layer of these, which runs in one way.
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
# CUTLASS pads the metadata of a weight to blocks of this size, and torchao's kernel refuses metadata that are padded.
_SPARSE_ROWS, _SPARSE_COLUMNS = 64, 128
# torchao leaves other weights as they are.
_FP8_MULTIPLE = 16


@dataclass(frozen=True)
class Fp8Layers:
    """The layers of a model by how they run, and the names that vLLM has for them.

    Attributes:
        runs: how each layer runs, by its name in transformers.
        engine_runs: the same by all names that an engine may have for a layer: that of transformers, and that of the
            layer that vLLM makes of several.
        unfit: layers with the pattern 2:4 whose size the sparse kernel does not take, alone or in what vLLM makes of
            them.
    """

    runs: dict[str, Run]
    engine_runs: dict[str, Run]
    unfit: tuple[str, ...]

    def names(self, run: Run) -> list[str]:
        """The layers that run in a way, by their names in transformers."""
        return [name for name, each in self.runs.items() if each == run]


@dataclass(frozen=True)
class _Facts:
    """What decides how a layer may run."""

    has_pattern: bool
    fits_sparse: bool
    fits_fp8: bool


def fp8_layers(checkpoint: StoredCheckpoint, model: PreTrainedModel) -> Fp8Layers:
    """Find how the layers of a checkpoint run; one weight is in memory at a time.

    Args:
        checkpoint: with the weights, of any dtype.
        model: of its configuration, on any device, such as ``meta``.

    Raises:
        InputError: if no layer has the pattern 2:4, the model has layers of other kinds, or a weight is missing or not
            finite.
    """
    layers = prunable_layers(model)
    _check_kinds(layers)
    tensors = checkpoint.tensors
    facts: dict[str, _Facts] = {}
    for layer in tqdm(layers, desc="check 2:4", unit="layer", delay=2, leave=False):
        stored = tensors.get(layer.parameter_name)
        if stored is None:
            raise InputError(
                f"The checkpoint lacks the weight {layer.parameter_name!r}; write it with save_pretrained, whose names "
                "vLLM knows."
            )
        facts[layer.name] = _facts(layer.parameter_name, stored.read())
    if not any(each.has_pattern for each in facts.values()):
        first = next(iter(facts))
        raise InputError(
            f"No layer of the model has the pattern 2:4 (the first, {first!r}, keeps more than 2 of some 4 consecutive "
            "inputs), and the format fp8-2of4 is for such models; prune with --sparsity 2:4, or choose another format."
        )
    return _by_engine_names(facts)


def _check_kinds(layers: Iterable[PrunableLayer]) -> None:
    for layer in layers:
        if layer.experts is not None or not isinstance(layer.module, nn.Linear):
            raise InputError(
                f"The layer {layer.name!r} is no plain linear layer, and the format fp8-2of4 is for models whose "
                "layers all are; choose another format."
            )


def _facts(name: str, stored: Tensor) -> _Facts:
    weight = stored.to(torch.bfloat16)
    if not weight.isfinite().all():
        raise InputError(f"The weight {name!r} is not finite everywhere in bfloat16; write the checkpoint again.")
    rows, columns = weight.shape
    # torchao divides a row by its scale, and gets no number where the scale is zero.
    scaled = bool((weight.abs().amax(dim=1) / torch.finfo(torch.float8_e4m3fn).max > 0).all())
    return _Facts(
        has_pattern=is_two_of_four(weight),
        fits_sparse=rows % _SPARSE_ROWS == 0 and columns % _SPARSE_COLUMNS == 0,
        fits_fp8=scaled and rows % _FP8_MULTIPLE == 0 and columns % _FP8_MULTIPLE == 0,
    )


def _by_engine_names(facts: Mapping[str, _Facts]) -> Fp8Layers:
    runs: dict[str, Run] = {}
    engine_runs: dict[str, Run] = {}
    unfit: list[str] = []
    for name in facts:
        group = _fused_group(name, facts)
        parts = [facts[part] for part in (group or {name: ""})]
        run = _run(parts)
        runs[name] = engine_runs[name] = run
        if group:
            engine_runs[next(iter(group.values()))] = run
        if facts[name].has_pattern and run != "sparse":
            unfit.append(name)
    return Fp8Layers(runs, engine_runs, tuple(unfit))


def _run(parts: list[_Facts]) -> Run:
    if not all(part.fits_fp8 for part in parts):
        return "bfloat16"
    return "sparse" if all(part.has_pattern and part.fits_sparse for part in parts) else "dense"


def _fused_group(name: str, facts: Mapping[str, _Facts]) -> dict[str, str]:
    """The layers that vLLM makes one of, with that one's name; none where it does not."""
    parent, _, part = name.rpartition(".")
    for fused, parts in _FUSED.items():
        group = [f"{parent}.{each}" for each in parts]
        if part in parts and all(each in facts for each in group):
            return dict.fromkeys(group, f"{parent}.{fused}")
    return {}
