"""The pruned model as a Hugging Face checkpoint on disk."""

from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.errors import InputError
from optishear.files import write_aside, write_text
from optishear.models.write import write_checkpoint
from optishear.pruning.stored_weights import StoredWeights
from optishear.recipes.recipe import Recipe

RECIPE_FILE = "recipe.yaml"
CARD_FILE = "README.md"


def save_checkpoint(
    folder: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, card: str
) -> None:
    """Write a model that any user of transformers can load, whole or not at all.

    Beside the config, the safetensors and the tokenizer, it holds the recipe and the model card.

    Raises:
        InputError: if the folder cannot be written, or holds something other than such a checkpoint.
    """
    folder = Path(folder)
    check_replaceable(folder)
    with write_aside(folder) as aside:
        write_checkpoint(aside, model, tokenizer)
        recipe.save(aside / RECIPE_FILE)
        write_text(aside / CARD_FILE, card)


def check_replaceable(folder: str | Path) -> None:
    """Refuse to replace anything but a checkpoint that ``save_checkpoint`` wrote, or nothing.

    Raises:
        InputError: if the folder is a file, or holds something and no recipe: the dense model, for one.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / RECIPE_FILE).is_file() or not any(folder.iterdir()))):
        raise InputError(
            f"The folder {str(folder)!r} for the pruned model holds something else already; name another output "
            "folder, or remove it."
        )


def measured_sparsity(folder: str | Path, layer_names: Iterable[str]) -> float:
    """The fraction of zeros over the weights of these layers, read from a checkpoint one tensor at a time.

    Args:
        folder: a folder with safetensors files, dense or packed.
        layer_names: paths of the layers in the model, as in ``model.named_modules()``.

    Raises:
        InputError: if a layer has no weight there, or if it is not clear which one is its.
    """
    stored = StoredWeights(folder)
    zeros = total = 0
    for name in tqdm(list(layer_names), desc="measure sparsity", unit="layer", delay=2, leave=False):
        weight = stored.of(name)
        zeros += int((weight == 0).sum())
        total += weight.numel()
    return zeros / total
