"""A checkpoint → a GGUF file for llama.cpp, one tensor in memory at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.configuration_utils import PreTrainedConfig

from optishear.errors import InputError
from optishear.extras import require
from optishear.formats.stored import StoredCheckpoint, StoredTensor, open_checkpoint
from optishear.models.quiet import quiet_transformers
from optishear.parameters.export_formats import GgufType
from optishear.serving.gguf_families import (
    Family,
    add_numbers,
    added_tensors,
    converted,
    family_of,
    tensor_names,
)
from optishear.serving.gguf_tokenizer import add_tokenizer, read_tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

# Rows that are quantized at once, whose float32 copies are in memory.
_ROWS = 4096
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True)
class _Entry:
    """A tensor to write: where it comes from, its name in the file, and the type that it is stored in."""

    source: StoredTensor | Tensor
    name: str
    kind: "GGMLQuantizationType"
    shape: tuple[int, ...]

    def read(self, config: PreTrainedConfig) -> np.ndarray[Any, Any]:
        """The bytes of the tensor as they are written."""
        from gguf import GGMLQuantizationType, quants

        if isinstance(self.source, Tensor):
            return self.source.numpy()
        weight = converted(self.source.name, _finite(self.source), config)
        if self.kind == GGMLQuantizationType.BF16:
            return weight.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
        rows = [quants.quantize(part.float().numpy(), self.kind) for part in weight.split(_ROWS)]
        written: np.ndarray[Any, Any] = np.concatenate(rows)
        return written


def export_gguf(source: Path, output: Path, gguf_type: GgufType, name: str) -> None:
    """Write a checkpoint as a GGUF file.

    Matrices are stored in the chosen type. Beside a type of less than eight bits, embeddings and head have 8 bits, as
    llama.cpp's own files have more for them. Norms and biases are float32. A matrix whose rows the type's blocks do not
    fit is stored in bfloat16.

    Args:
        source: a folder with a checkpoint, dense or packed.
        output: the file to write.
        gguf_type: bf16, f32, or a quantization, rounded to nearest.
        name: of the model, for the metadata.

    Raises:
        InputError: if the checkpoint is damaged, or llama.cpp cannot run the model or its tokenizer; as far as possible
            before anything is written.
    """
    require(["gguf"], "The format gguf")
    from gguf import GGUFWriter, LlamaFileType

    checkpoint = open_checkpoint(source)
    with quiet_transformers():
        config: PreTrainedConfig = AutoConfig.from_pretrained(source)
        family = family_of(config)
        tokenizer = AutoTokenizer.from_pretrained(source)
    entries = _entries(checkpoint, config, family, gguf_type)
    writer = GGUFWriter(None, family.architecture)
    writer.add_name(name)
    add_numbers(writer, config)
    add_tokenizer(writer, read_tokenizer(tokenizer, config.vocab_size))
    file_type = "ALL_F32" if gguf_type == "f32" else f"MOSTLY_{gguf_type.upper()}"
    writer.add_file_type(LlamaFileType[file_type])
    writer.add_quantization_version(2)
    for entry in entries:
        writer.add_tensor_info(entry.name, entry.shape, np.dtype(np.float32), _nbytes(entry), entry.kind)
    writer.write_header_to_file(output)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for entry in tqdm(entries, desc="export gguf", unit="tensor", delay=2, leave=False):
        writer.write_tensor_data(entry.read(config))
    writer.close()


def _entries(
    checkpoint: StoredCheckpoint, config: PreTrainedConfig, family: Family, gguf_type: GgufType
) -> list[_Entry]:
    from gguf import GGMLQuantizationType

    name_of = tensor_names(config, family)
    entries = []
    for tensor in _weights(checkpoint, config):
        name = name_of(tensor.name)
        if name is None:
            raise InputError(
                f"llama.cpp has no place for the weight {tensor.name!r} in a model of the family "
                f"{family.architecture}; export with --format dense."
            )
        entries.append(_Entry(tensor, name, _kind(name, tensor.shape, gguf_type), tensor.shape))
    added = added_tensors(config)
    return [_Entry(weight, name, GGMLQuantizationType.F32, tuple(weight.shape)) for name, weight in added] + entries


def _weights(checkpoint: StoredCheckpoint, config: PreTrainedConfig) -> list[StoredTensor]:
    """The tensors of the model, in its own order.

    Raises:
        InputError: if one is missing, or the model has no place for one.
    """
    with torch.device("meta"), quiet_transformers():
        expected = list(AutoModelForCausalLM.from_config(config).state_dict())
    stored = checkpoint.tensors
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    if config.tie_word_embeddings:
        expected = [name for name in expected if name != head]
        # A tied head that is stored all the same is written only where it differs, as transformers does on loading.
        if head in stored and embedding in stored and torch.equal(stored[head].read(), stored[embedding].read()):
            stored.pop(head)
    missing = next((name for name in expected if name not in stored), None)
    if missing is not None:
        raise InputError(f"The checkpoint lacks the weight {missing!r}; download or write it again.")
    # Old checkpoints have the frequencies of the rotary embeddings, which the configuration says, too.
    others = [name for name in stored if name not in expected and not name.endswith("rotary_emb.inv_freq")]
    return [stored[name] for name in expected + others]


def _kind(name: str, shape: tuple[int, ...], gguf_type: GgufType) -> "GGMLQuantizationType":
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    kind = GGMLQuantizationType[gguf_type.upper()]
    if name in (_EMBEDDING, _HEAD) and gguf_type not in ("bf16", "f32"):
        kind = GGMLQuantizationType.Q8_0
    return kind if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else GGMLQuantizationType.BF16


def _nbytes(entry: _Entry) -> int:
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[entry.kind]
    return int(np.prod(entry.shape)) // block * size


def _finite(stored: StoredTensor) -> Tensor:
    weight = stored.read()
    if not weight.isfinite().all():
        raise InputError(f"The weight {stored.name!r} is not finite everywhere; write the checkpoint again.")
    return weight.float() if weight.ndim < 2 else weight
