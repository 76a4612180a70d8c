"""A checkpoint → bfloat16 weights, and the configuration by which torchao makes FP8 with 2:4 of them on a GPU.

The packed weights themselves cannot be written. torchao 0.18 stores no tensors of 2:4 in safetensors, so that
transformers refuses them, and vLLM could not join the packed parts of an attention's inputs. Both make FP8 of bfloat16
weights while they load them, which takes no calibration: a row's scale is its largest weight over 448.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError, first_line
from optishear.extras import require
from optishear.files import write_text
from optishear.formats.stored import StoredCheckpoint, StoredTensor, open_checkpoint
from optishear.json_file import parse_json, write_json
from optishear.models.quiet import quiet_transformers
from optishear.pruning.export import FP8_LAYERS_FILE, TORCHAO_FILE, copy_other_files, write_weights
from optishear.serving.fp8_layers import Fp8Layers, Run, fp8_layers


class _InBfloat16(StoredTensor):
    """A tensor that is read in bfloat16 where it has numbers of floating point."""

    @property
    def dtype(self) -> torch.dtype:
        dtype = super().dtype
        return torch.bfloat16 if dtype.is_floating_point else dtype

    def read(self) -> Tensor:
        weight = super().read()
        return weight.to(torch.bfloat16) if weight.is_floating_point() else weight


def export_fp8(source: Path, output: Path) -> None:
    """Write a 2:4 pruned checkpoint for vLLM with torchao: weights in bfloat16, ``torchao.json``, ``fp8-layers.json``.

    ``AutoModelForCausalLM`` loads the folder as the bfloat16 model.

    Args:
        source: a folder with a checkpoint, dense or packed.
        output: the folder to make.

    Raises:
        InputError: if the checkpoint is damaged, no layer has the pattern 2:4, or the model has layers of other kinds;
            before anything is written.
    """
    require(["torchao"], "The format fp8-2of4")
    checkpoint = in_bfloat16(open_checkpoint(source))
    layers = fp8_layers(checkpoint, _empty_model(source))
    copy_other_files(source, output, "fp8-2of4")
    _set_dtype(output / "config.json")
    write_weights(checkpoint, output, "dense")
    write_json(output / TORCHAO_FILE, torchao_config(layers.engine_runs))
    write_json(output / FP8_LAYERS_FILE, _listed(layers))


def in_bfloat16(checkpoint: StoredCheckpoint) -> StoredCheckpoint:
    """A checkpoint whose numbers of floating point are read in bfloat16."""
    files: dict[Path, list[StoredTensor]] = {
        file: [_InBfloat16(tensor.file, tensor.name, tensor.packed_shape) for tensor in tensors]
        for file, tensors in checkpoint.files.items()
    }
    return replace(checkpoint, files=files)


def torchao_config(runs: Mapping[str, Run]) -> dict[str, Any]:
    """torchao's configuration as JSON, which vLLM reads: FP8 per row, with and without 2:4.

    A layer that it does not name stays in bfloat16, such as the head.

    Args:
        runs: how each layer runs, by its name in the engine.
    """
    from torchao.core.config import config_to_dict
    from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, FqnToConfig, PerRow
    from torchao.quantization.quantize_.workflows import Float8PackingFormat

    packings = {"sparse": Float8PackingFormat.SPARSE_2D_DATA_2D_METADATA, "dense": Float8PackingFormat.PLAIN}
    configs = OrderedDict()
    for run, packing in packings.items():
        names = "|".join(re.escape(name) for name, each in runs.items() if each == run)
        if names:
            configs[f"re:{names}"] = Float8DynamicActivationFloat8WeightConfig(
                granularity=PerRow(), packing_format=packing
            )
    written: dict[str, Any] = config_to_dict(FqnToConfig(configs))
    return written


def read_fp8_layers(folder: Path) -> dict[str, list[str]]:
    """The layers of an export by how they run: ``sparse``, ``dense``, ``bfloat16`` and ``unfit``.

    Raises:
        InputError: if the file is missing or cannot be read.
    """
    file = folder / FP8_LAYERS_FILE
    try:
        listed = parse_json(file.read_text(encoding="utf-8"))
        return {kind: [str(name) for name in listed[kind]] for kind in ("sparse", "dense", "bfloat16", "unfit")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The file {str(file)!r} cannot be read ({first_line(error)}); write the export again with optishear "
            "export."
        ) from None


def fp8_summary(folder: Path) -> str:
    """How the layers of an export run, as a sentence."""
    layers = read_fp8_layers(folder)
    text = f"{len(layers['sparse'])} layers run as FP8 with 2:4, {len(layers['dense'])} as dense FP8"
    if layers["bfloat16"]:
        text += f", {len(layers['bfloat16'])} in bfloat16"
    if layers["unfit"]:
        text += f"; {len(layers['unfit'])} of the 2:4 layers have a size that the sparse kernel does not take"
    return f"{text}."


def _listed(layers: Fp8Layers) -> dict[str, list[str]]:
    runs: tuple[Run, ...] = ("sparse", "dense", "bfloat16")
    return {run: layers.names(run) for run in runs} | {"unfit": list(layers.unfit)}


def _empty_model(source: Path) -> PreTrainedModel:
    with torch.device("meta"), quiet_transformers():
        model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    return model


def _set_dtype(file: Path) -> None:
    """Let a configuration say bfloat16, under the names that it has for it: torchao takes no other dtype."""
    config = parse_json(file.read_text(encoding="utf-8"))
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            names = [name for name in ("dtype", "torch_dtype") if name in part] or ["dtype"]
            part.update(dict.fromkeys(names, "bfloat16"))
    write_text(file, json.dumps(config, indent=2) + "\n")
