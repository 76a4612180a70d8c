"""What llama.cpp knows of a model family: its name there, its numbers, and how it wants the weights."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.configuration_utils import PreTrainedConfig

from optishear.errors import InputError

if TYPE_CHECKING:
    from gguf import GGUFWriter

_TANH_GELU = ("gelu_pytorch_tanh", "gelu")  # Gemma's first configurations name the other form, and mean this one
# Every sixth layer of a Gemma 3 attends to all tokens. llama.cpp has the number in its code.
_GEMMA3_PERIOD = 6
# The scale of the attention of the largest Gemma 3 is its own, and llama.cpp knows that model by its layers.
_GEMMA3_LARGEST = 62


@dataclass(frozen=True)
class Family:
    """How llama.cpp runs a family.

    Attributes:
        architecture: its name there.
        activations: the names in a configuration of the activation function that llama.cpp computes.
        interleaved: whether the two halves of a head's queries and keys, which are rotated together, lie side by side.
        shifted_norms: whether a norm multiplies by 1 + weight, where llama.cpp multiplies by the weight.
    """

    architecture: str
    activations: tuple[str, ...] = ("silu",)
    interleaved: bool = False
    shifted_norms: bool = False


FAMILIES = {
    "llama": Family("llama", interleaved=True),
    "mistral": Family("llama", interleaved=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "gemma": Family("gemma", _TANH_GELU, shifted_norms=True),
    "gemma3_text": Family("gemma3", _TANH_GELU, shifted_norms=True),
}


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a configuration.

    Raises:
        InputError: if the format is not written for it, or llama.cpp computes something else than it says.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise InputError(
            f"The format gguf is written for {', '.join(FAMILIES)}, not for {config.model_type}; export with "
            "--format dense and convert with llama.cpp's own convert_hf_to_gguf.py."
        )
    activation = getattr(config, "hidden_activation", None) or config.hidden_act
    if activation not in family.activations:
        raise _differs("hidden_act", activation, family.activations[0])
    if config.model_type == "gemma3_text":
        _check_gemma3(config)
    return family


def add_numbers(writer: "GGUFWriter", config: PreTrainedConfig) -> None:
    """Add the numbers of a model to a file's metadata.

    Raises:
        InputError: if its rotary embeddings are scaled in a way that is not written.
    """
    rope = _rope(config)
    writer.add_context_length(_context(config))
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if rope["rope_type"] == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base_swa(float(config.rope_parameters["sliding_attention"]["rope_theta"]))


def tensor_names(config: PreTrainedConfig, family: Family) -> Callable[[str], str | None]:
    """What gives a weight's name in the file by its name in the checkpoint; ``None`` for one without a place."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES[arch] == family.architecture)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    return lambda name: names.get_name(name, try_suffixes=(".weight", ".bias"))


def added_tensors(config: PreTrainedConfig) -> Iterator[tuple[str, Tensor]]:
    """Tensors of llama.cpp's that are numbers of the configuration: name and float32 tensor."""
    rope = _rope(config)
    if rope["rope_type"] == "llama3":
        yield "rope_freqs.weight", _llama3_factors(rope, _head_size(config))


def converted(name: str, weight: Tensor, config: PreTrainedConfig) -> Tensor:
    """A weight as llama.cpp wants it.

    Args:
        name: in the checkpoint.
        weight: of any shape; norms are given in float32.
        config: of the model.
    """
    family = FAMILIES[config.model_type]
    if family.interleaved and (heads := _heads(name, config)):
        return _interleaved(weight, heads)
    if family.shifted_norms and name.endswith("norm.weight"):
        return weight + 1
    return weight


def restored(name: str, weight: Tensor, config: PreTrainedConfig) -> Tensor:
    """The weight of the checkpoint that ``converted`` took."""
    family = FAMILIES[config.model_type]
    if family.interleaved and (heads := _heads(name, config)):
        return _in_halves(weight, heads)
    if family.shifted_norms and name.endswith("norm.weight"):
        return weight - 1
    return weight


def _heads(name: str, config: PreTrainedConfig) -> int:
    """The heads of a query's or a key's projection; 0 for other tensors."""
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if name.endswith(("k_proj.weight", "k_proj.bias")) else 0


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of the first and the second half of each head in turn; weight is [heads · size] or [heads · size, in]."""
    rows: Tensor = weight.unflatten(0, (heads, 2, -1))
    return rows.transpose(1, 2).reshape(weight.shape)


def _in_halves(weight: Tensor, heads: int) -> Tensor:
    rows: Tensor = weight.unflatten(0, (heads, -1, 2))
    return rows.transpose(1, 2).reshape(weight.shape)


def _head_size(config: PreTrainedConfig) -> int:
    size: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return size


def _context(config: PreTrainedConfig) -> int:
    """Tokens of context; of a model with a sliding window in all layers those of the window.

    llama.cpp attends to all tokens there, which is the same up to the window's length.
    """
    context = int(config.max_position_embeddings)
    window: int | None = getattr(config, "sliding_window", None)
    if not window or config.model_type == "gemma3_text" or not getattr(config, "use_sliding_window", True):
        return context
    return min(context, window)


def _rope(config: PreTrainedConfig) -> dict[str, Any]:
    """The parameters of the rotary embeddings, those of full attention where a model has two."""
    parameters: dict[str, Any] = dict(config.rope_parameters)
    parameters = dict(parameters.get("full_attention", parameters))
    kind = parameters.setdefault("rope_type", "default")
    if kind not in ("default", "linear", "llama3"):
        raise InputError(
            f"The format gguf is not written for rotary embeddings of the type {kind!r}; it is for default, linear and "
            "llama3."
        )
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise _differs("partial_rotary_factor", parameters["partial_rotary_factor"], 1.0)
    return parameters


def _llama3_factors(rope: dict[str, Any], head_size: int) -> Tensor:
    """What each frequency is divided by, [head_size / 2]: long waves by ``factor``, short ones by 1."""
    frequencies = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_size, 2, dtype=torch.float64) / head_size)
    waves = 2 * math.pi / frequencies
    context, low, high = (
        rope[name] for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    smooth = ((context / waves - low) / (high - low)).clamp(0, 1)
    factors: Tensor = 1 / ((1 - smooth) / rope["factor"] + smooth)
    return factors.to(torch.float32)


def _check_gemma3(config: PreTrainedConfig) -> None:
    kinds = [
        "full_attention" if layer % _GEMMA3_PERIOD == 0 else "sliding_attention"
        for layer in range(1, config.num_hidden_layers + 1)
    ]
    if list(config.layer_types) != kinds:
        raise _differs("layer_types", "another order", f"full attention in every {_GEMMA3_PERIOD}th layer")
    largest = config.num_hidden_layers == _GEMMA3_LARGEST
    scale = config.hidden_size // config.num_attention_heads if largest else _head_size(config)
    if config.query_pre_attn_scalar != scale:
        raise _differs("query_pre_attn_scalar", config.query_pre_attn_scalar, scale)
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if getattr(config, name, None):
            raise _differs(name, getattr(config, name), None)
    if getattr(config, "use_bidirectional_attention", False):
        raise _differs("use_bidirectional_attention", True, False)


def _differs(name: str, value: object, expected: object) -> InputError:
    return InputError(
        f"llama.cpp would compute another model: its {name} is {value}, and llama.cpp has {expected}; export with "
        "--format dense."
    )
