"""Weights of a checkpoint and of its model that do not match, from the report that transformers gives of a loading."""

from collections.abc import Collection, Mapping
from typing import Any

from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError


def check_loading(name: str, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse a model that has not all weights of its checkpoint, or others than it.

    What transformers knows to be of no use to the model, such as rotary frequencies and the layers for multi-token
    prediction, is not in its report. Buffers that the model computes itself may be in the files, too.

    Args:
        name: of the model, for the message.
        model: as it was loaded.
        report: ``missing_keys``, ``mismatched_keys`` and ``unexpected_keys`` of ``from_pretrained``.

    Raises:
        InputError: naming the first weight and the number of such weights.
    """
    new = sorted(report["missing_keys"]) + sorted(key for key, *_ in report["mismatched_keys"])
    if new:
        raise InputError(
            f"The model {name!r} is not whole: the weight {new[0]!r} is missing from its files or has the "
            f"wrong shape ({len(new)} such weights); download or save it again."
        )
    check_unknown(name, unknown_weights(model, report["unexpected_keys"]))


def unknown_weights(model: PreTrainedModel, keys: Collection[str]) -> list[str]:
    """The sorted keys of a checkpoint that stand for weights, among those that the model did not take."""
    computed = {name for name, _ in model.named_buffers()}
    prefix = f"{model.base_model_prefix}."
    return sorted(key for key in keys if not {key, f"{prefix}{key}", key.removeprefix(prefix)} & computed)


def check_unknown(name: str, unknown: Collection[str]) -> None:
    """Refuse a checkpoint with weights that its model does not know, which would be dropped.

    Args:
        name: of the model, for the message.
        unknown: their names in the checkpoint.

    Raises:
        InputError: naming the first of them and their number.
    """
    if not unknown:
        return
    first = min(unknown)
    hint = (
        "merge the adapter into the model and save it without"
        if "lora_" in first.lower()
        else "correct config.json, whose model_type, number of layers or biases differ from what was saved, or remove "
        "these weights"
    )
    raise InputError(
        f"The model {name!r} has weights that its configuration does not know: {first!r} would be dropped "
        f"({len(unknown)} such weights); {hint}."
    )
