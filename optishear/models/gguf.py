"""GGUF files, converted once to a plain Hugging Face checkpoint that loads a hundred times faster."""

import logging
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_utils import PreTrainedModel

from optishear.disk import check_disk
from optishear.errors import InputError, first_line
from optishear.extras import require
from optishear.files import ensure_writable, write_aside
from optishear.formats.gguf_header import DamagedGgufError, GgufHeader, check_sizes, read_header
from optishear.models.loading_report import check_unknown
from optishear.models.memory import weight_count
from optishear.models.quiet import quiet_transformers
from optishear.models.write import write_checkpoint

# Weights that the model has and the file lacks, such as a tied head, are named after the conversion.
_MOST_TIMES_LARGER = 4
# Where the tokenizer's configuration has the name of what splits a text before the merges. transformers splits all
# texts as GPT-2 does, and an export to GGUF gives the name back.
PRE_KEY = "ggml_pre"
logger = logging.getLogger(__name__)


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF model to ``folder`` as a float32 safetensors checkpoint, unless it exists already.

    The weights are those that the quantized blocks stand for. Processes that ask for the same folder at once
    wait for the first one.

    Raises:
        InputError: if transformers cannot read the file, the model has no place for a weight in it, the checkpoint does
            not fit on the disk, or the package gguf is not installed.
    """
    ensure_writable(folder.parent)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if (folder / "config.json").is_file():
            return
        require(["gguf"], f"The GGUF file {gguf.name!r}")
        header = _check(gguf)
        numbers = sum(tensor.numbers for tensor in header.tensors.values())
        check_disk(folder.parent, numbers * torch.float32.itemsize, f"The conversion of the GGUF file {gguf.name!r}")
        logger.info("Converting %s to a float32 checkpoint in %s, once.", gguf.name, folder)
        where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        try:
            with quiet_transformers():
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    **where, dtype=torch.float32, output_loading_info=True
                )
                tokenizer = AutoTokenizer.from_pretrained(**where)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # values of the file go into configurations, models and tokenizers unchecked
            raise _unreadable(gguf, error) from error
        model, loading = loaded
        if loading["missing_keys"]:
            raise InputError(
                f"The GGUF file {gguf.name!r} lacks the weight {min(loading['missing_keys'])!r}; give the whole model, "
                "merged if it is split into several files."
            )
        check_unknown(gguf.name, _dropped(gguf, model))
        # The weights are plain tensors now, yet the library still takes the model for a quantized one.
        model.hf_quantizer = None
        del model.config.quantization_config
        pre = header.values.get("tokenizer.ggml.pre")
        if isinstance(pre, str):
            tokenizer.init_kwargs[PRE_KEY] = pre
        with write_aside(folder) as aside:
            write_checkpoint(aside, model, tokenizer)


def _check(gguf: Path) -> GgufHeader:
    """The header of a file; refuses one that is damaged, or counts more than the file holds, before it is used.

    Raises:
        InputError: naming what is wrong.
    """
    from gguf import GGML_QUANT_SIZES

    try:
        header = read_header(gguf)
        check_sizes(header, gguf.stat().st_size, {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()})
        _check_shape(gguf, header)
        return header
    except DamagedGgufError as error:
        raise _unreadable(gguf, error) from None


def _check_shape(gguf: Path, header: GgufHeader) -> None:
    """Refuse metadata of a much larger model than the tensors are."""
    family = header.values.get("general.architecture")
    blocks = header.values.get(f"{family}.block_count")
    if not isinstance(family, str) or not isinstance(blocks, int):
        raise DamagedGgufError("its metadata has no general.architecture with a block_count")
    if not 0 < blocks <= len(header.tensors):
        raise DamagedGgufError(f"its metadata counts {blocks} blocks, and it has {len(header.tensors)} tensors")
    try:
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
            expected = weight_count(AutoModelForCausalLM.from_config(config))
    except Exception as error:  # as on conversion
        raise _unreadable(gguf, error) from error
    present = sum(tensor.numbers for tensor in header.tensors.values())
    if expected > _MOST_TIMES_LARGER * max(present, 1):
        raise DamagedGgufError(f"its metadata is that of a model of {expected} weights, and it has {present}")


def _unreadable(gguf: Path, error: Exception) -> InputError:
    return InputError(
        f"The GGUF file {gguf.name!r} cannot be read ({first_line(error)}); download it again, or give the model's "
        "original checkpoint."
    )


def _dropped(gguf: Path, model: PreTrainedModel) -> list[str]:
    """The tensors of a file that the model has no place for.

    transformers passes over a name that it does not know. Fused experts have names of their own, so that a name alone
    says little: the file must also hold more numbers than the model.
    """
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

    # What these scale, the configuration says, too.
    tensors = [tensor for tensor in GGUFReader(gguf).tensors if not tensor.name.startswith("rope_")]
    sizes = {id(value): value.numel() for value in model.state_dict(keep_vars=True).values()}
    if sum(int(tensor.n_elements) for tensor in tensors) <= sum(sizes.values()):
        return []
    known = get_gguf_hf_weights_map(model, TensorProcessor(config={}))
    return [tensor.name for tensor in tensors if tensor.name not in known and "_exps" not in tensor.name]
