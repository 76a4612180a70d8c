"""The files of a Hugging Face checkpoint."""

from pathlib import Path

from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.models.quiet import quiet_transformers
from optishear.models.stored_dtype import in_stored_dtypes


def write_checkpoint(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, weights: Path | None = None
) -> None:
    """Write config, safetensors, generation config and tokenizer into ``folder``.

    Weights of a model that ``load_model`` loaded are written in the dtype of the checkpoint that they were loaded from,
    whatever the working precision; those of another model in their own. Tied ones are written once.

    Args:
        folder: for the files.
        model: the model.
        tokenizer: its tokenizer.
        weights: a folder with the weight files, which are moved; where not given, they are written from the model.

    Raises:
        InputError: if a weight is too large for the dtype of the checkpoint.
    """
    config = model.config.get_text_config()
    use_cache = getattr(config, "use_cache", None)
    if use_cache is not None:
        # It is off for our forward passes alone; who loads the checkpoint will want to generate.
        config.use_cache = True
    try:
        with quiet_transformers():
            if weights is None:
                with in_stored_dtypes(model):
                    model.save_pretrained(folder)
            else:
                model.save_pretrained(folder, state_dict={})
                for file in weights.iterdir():
                    file.replace(folder / file.name)
            tokenizer.save_pretrained(folder)
    finally:
        if use_cache is not None:
            config.use_cache = use_cache
    # The safetensors library writes files that only their owner may read, regardless of the umask.
    for file in folder.glob("*.safetensors"):
        file.chmod((folder / "config.json").stat().st_mode)
