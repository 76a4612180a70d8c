"""The files of a Hugging Face checkpoint."""

from pathlib import Path

from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.models.quiet import quiet_transformers


def write_checkpoint(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write config, safetensors, generation config and tokenizer into ``folder``.

    Weights keep their dtype, and tied ones are written once.
    """
    config = model.config.get_text_config()
    use_cache = getattr(config, "use_cache", None)
    if use_cache is not None:
        # It is off for our forward passes alone; who loads the checkpoint will want to generate.
        config.use_cache = True
    try:
        with quiet_transformers():
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    finally:
        if use_cache is not None:
            config.use_cache = use_cache
    # The safetensors library writes files that their owner alone may read, whatever the umask says.
    for file in folder.glob("*.safetensors"):
        file.chmod((folder / "config.json").stat().st_mode)
