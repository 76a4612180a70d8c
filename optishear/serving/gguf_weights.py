"""A GGUF file that was exported here → the dense model that it stands for, in transformers."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError, first_line
from optishear.models.quiet import quiet_transformers
from optishear.serving.gguf_families import family_of, restored, tensor_names


def dense_model(file: Path) -> PreTrainedModel:
    """The model in float32 with the very weights that the file's blocks stand for.

    transformers' own reader takes some numbers of a configuration from its defaults, so this one takes the
    configuration that lies beside the file.

    Args:
        file: of an export, with ``config.json`` beside it.

    Raises:
        InputError: if the file or the configuration cannot be read, or do not belong together.
    """
    from gguf import GGUFReader, dequantize

    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(file.parent)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"The export {str(file)!r} cannot be read ({first_line(error)}); write it again with optishear export."
        ) from None
    name_of = tensor_names(config, family_of(config))
    weights: dict[str, Tensor] = {}
    for name, expected in model.state_dict().items():
        tensor = stored.get(name_of(name) or "")
        if tensor is None:
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            raise InputError(f"The file {str(file)!r} lacks the weight {name!r}; write it again with optishear export.")
        weight = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type))).view(expected.shape)
        weights[name] = restored(name, weight, config)
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    model.requires_grad_(False).train(False)
    return model
