"""The pruned model as a Hugging Face checkpoint on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.errors import InputError
from optishear.file_names import RECIPE
from optishear.files import write_aside, write_text
from optishear.models.coverage import block_matrices
from optishear.models.layers import PrunableLayer, all_prunable_layers, by_parameter, prunable_layers
from optishear.models.write import write_checkpoint
from optishear.pruning.stored_weights import StoredWeights
from optishear.recipes.recipe import Recipe

CARD_FILE = "README.md"


def save_checkpoint(
    folder: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    card: str = "",
    weights: Path | None = None,
) -> None:
    """Write a model that any user of transformers can load, whole or not at all.

    Beside the config, the safetensors and the tokenizer, it holds the recipe and the model card.

    >>> recipe = optishear.search(model, tokenizer, sequences=8, sequence_length=64, trials=12, progress=False)
    >>> summary = optishear.prune(model, recipe, tokenizer=tokenizer, sequences=8, sequence_length=64, progress=False)
    >>> optishear.save_checkpoint("pruned", model, tokenizer, recipe)
    >>> optishear.load_model("pruned").model.dtype
    torch.float32

    Args:
        folder: a new folder, an empty one, or one that ``save_checkpoint`` wrote.
        model: the pruned model; stored in the dtypes of the dense checkpoint that it was loaded from.
        tokenizer: its tokenizer.
        recipe: what it was pruned with.
        card: text of the model card, in Markdown; empty for none.
        weights: a folder with the weight files of a model that is not in memory, which are moved.

    Raises:
        InputError: if the folder cannot be written, or holds something other than such a checkpoint.
    """
    folder = Path(folder)
    check_replaceable(folder)
    with write_aside(folder) as aside:
        write_checkpoint(aside, model, tokenizer, weights)
        recipe.save(aside / RECIPE)
        if card:
            write_text(aside / CARD_FILE, card)


def check_replaceable(folder: str | Path) -> None:
    """Refuse to replace anything but a checkpoint that ``save_checkpoint`` wrote, or nothing.

    Raises:
        InputError: if the folder is a file, or holds something and no recipe: the dense model, for one.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / RECIPE).is_file() or not any(folder.iterdir()))):
        raise InputError(
            f"The folder {str(folder)!r} for the pruned model holds something else already; name another output "
            "folder, or remove it."
        )


@dataclass(frozen=True)
class MeasuredSparsity:
    """Fractions of zeros in a checkpoint.

    Attributes:
        prunable: over the weights of the prunable layers.
        all_matrices: over the weights of all matrices in the decoder blocks, prunable or not.
    """

    prunable: float
    all_matrices: float


def measured_sparsity(folder: str | Path, model: PreTrainedModel) -> MeasuredSparsity:
    """Count the zeros of a checkpoint, one parameter at a time.

    Args:
        folder: a folder with safetensors files, dense or packed.
        model: the model that it is a checkpoint of; only its names and shapes are read.

    Raises:
        InputError: if the checkpoint does not hold a weight of the model's decoder blocks.
    """
    stored = StoredWeights(folder, model)
    return _count_zeros(model, prunable_layers(model), lambda name, _parameter: stored.of(name))


def sparsity_in_memory(model: nn.Module) -> MeasuredSparsity:
    """Count the zeros of a loaded model; those of all prunable layers, whichever are selected.

    Raises:
        InputError: if the model has no prunable layers.
    """
    return _count_zeros(model, all_prunable_layers(model), lambda _name, parameter: parameter)


@torch.no_grad()
def _count_zeros(
    model: nn.Module, layers: list[PrunableLayer], values_of: Callable[[str, nn.Parameter], Tensor]
) -> MeasuredSparsity:
    prunable = by_parameter(layers)
    matrices = block_matrices(model)
    zeros = total = pruned_zeros = pruned_total = 0
    for name, parameter in tqdm(matrices.items(), desc="measure sparsity", unit="matrix", delay=2, leave=False):
        values = values_of(name, parameter)
        zeros, total = zeros + int((values == 0).sum()), total + values.numel()
        for _, layer in prunable.get(parameter, []):
            weight = layer.view(values)
            pruned_zeros, pruned_total = pruned_zeros + int((weight == 0).sum()), pruned_total + weight.numel()
    return MeasuredSparsity(pruned_zeros / pruned_total, zeros / total)
