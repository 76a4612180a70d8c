"""Numbers that are not finite: damaged weights, and a precision whose range is too small for a model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.in_memory import check_in_memory

# Model types, by how they begin, whose activations are known to pass float16's largest number: those that vLLM
# (vllm/config/model.py) and Unsloth (unsloth_zoo) do not compute in float16.
_BEYOND_FLOAT16 = ("gemma", "recurrent_gemma", "plamo2", "glm4", "gpt_oss", "qwen3_5")
_PROBE_TOKENS = 32


def check_float16(name: str, config: PreTrainedConfig, dtype: str) -> None:
    """Refuse float16 for a family that is known to overflow in it, unless the checkpoint is stored in it.

    Args:
        name: of the model, for the message.
        config: of the model.
        dtype: to compute in.

    Raises:
        InputError: naming the family.
    """
    if dtype != "float16" or str(config.dtype).removeprefix("torch.") == "float16":
        return
    if config.model_type.startswith(_BEYOND_FLOAT16):
        raise InputError(
            f"The model {name!r} cannot be computed in float16: activations of the family {config.model_type!r} pass "
            "65504, the largest number in it; give dtype auto, bfloat16 or float32."
        )


def not_finite(what: str, dtype: torch.dtype) -> InputError:
    """The sentence on numbers that are not finite.

    Args:
        what: the numbers, as the subject of a sentence.
        dtype: that they were computed in.
    """
    words = str(dtype).removeprefix("torch.")
    if dtype == torch.float16:
        return InputError(
            f"{what} not finite in {words}, whose largest number is 65504; give dtype auto, bfloat16 or float32."
        )
    return InputError(f"{what} not finite in {words}; check the checkpoint's weights and its config.json.")


@torch.no_grad()
def check_weights(model: nn.Module) -> None:
    """Refuse a model with a weight that is not finite.

    One such weight makes all outputs of the model not finite; or, where no text reaches it, a part that no result of
    a run shows.

    Args:
        model: whose parameters are read once.

    Raises:
        InputError: naming the parameter, and how many there are of such; or if weights are offloaded.
    """
    check_in_memory(model)
    damaged = [(name, value) for name, value in model.named_parameters() if not is_finite(value)]
    if damaged:
        name, value = damaged[0]
        count = int((~value.isfinite()).sum())
        more = f" and some of {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise not_finite(f"{count} of the {value.numel()} numbers of the weight {name!r}{more} are", value.dtype)


def is_finite(values: Tensor) -> bool:
    """Whether all numbers of a tensor are finite, without a copy of it."""
    return not values.numel() or all(bool(bound.isfinite()) for bound in values.aminmax())


def check_outputs(model: PreTrainedModel, first_token: int) -> None:
    """Refuse a model whose outputs on a few tokens are not finite; in other dtypes than float16, are no numbers.

    A family may mask outputs with infinities of its own, and only float16 makes others.

    Args:
        model: on its device.
        first_token: that a text begins with, where activations are largest.

    Raises:
        InputError: naming the module whose output was the first not to be finite.
    """
    embeddings: Any = model.get_input_embeddings()
    vocabulary = len(embeddings.weight)
    spread = torch.arange(_PROBE_TOKENS) * vocabulary // _PROBE_TOKENS
    tokens = torch.cat([torch.tensor([first_token % vocabulary]), spread])[None]
    if model.dtype != torch.float16:
        with torch.no_grad():
            outputs = model(tokens.to(model.device), use_cache=False).logits
        if not bool(outputs.isnan().any()):
            return
    module = first_not_finite(model, tokens)
    if module is not None:
        raise not_finite(f"The output of {module or type(model).__name__!r} is", model.dtype)


@torch.no_grad()
def first_not_finite(model: PreTrainedModel, tokens: Tensor) -> str | None:
    """The path of the module whose output is the first that is not finite; ``None`` where all outputs are.

    Args:
        model: that is run.
        tokens: [sequences, length] token ids.
    """
    names: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not names and not all(bool(tensor.isfinite().all()) for tensor in _tensors(output)):
                names.append(name)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        model(tokens.to(model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return names[0] if names else None


def _tensors(output: object) -> list[Tensor]:
    """The tensors of floating point in a module's output."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in _tensors(value)]
    if isinstance(output, tuple | list):
        return [tensor for value in output for tensor in _tensors(value)]
    return []
