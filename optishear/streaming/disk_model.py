"""A model whose decoder blocks stay on disk."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from optishear.errors import InputError
from optishear.models.finite import check_weights
from optishear.models.folder import checkpoint_folder
from optishear.models.layers import PrunableLayer, all_prunable_layers, decoder_blocks
from optishear.models.load import load_without_weights
from optishear.models.precision import DTYPES
from optishear.models.quiet import quiet_transformers
from optishear.models.source import resolve_model
from optishear.models.stored_dtype import set_config_dtype, stored_dtypes
from optishear.pruning.stored_weights import StoredWeights

# Families whose blocks read the hidden states and what does not depend on the tokens, and give hidden states; compared
# with the model in memory by tests/streaming.
FAMILIES = (
    "arcee", "biogpt", "bloom", "cohere", "cohere2", "dbrx", "deepseek_v2", "ernie4_5", "ernie4_5_moe",
    "exaone4", "falcon", "falcon_mamba", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_bigcode",
    "gpt_neox", "gpt_oss", "granite", "granitemoe", "granitemoehybrid", "helium", "hunyuan_v1_dense", "jetmoe",
    "lfm2", "llama", "llama4_text", "mamba", "mamba2", "mistral", "mixtral", "mpt", "nemotron", "olmo", "olmo2",
    "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
    "qwen3_next", "recurrent_gemma", "seed_oss", "smollm3", "stablelm", "starcoder2", "xglm",
)  # fmt: skip


class DiskModel:
    """A model in evaluation mode on the CPU, of whose decoder blocks at most one is in memory.

    Attributes:
        source: where it came from.
        folder: of its checkpoint.
        model: its structure; the weights of the blocks are on the meta device, all others are in memory.
        tokenizer: its tokenizer.
        dtype: what it is computed in.
        stored: the weights on disk.
        blocks: the decoder blocks.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def __init__(self, model: str, dtype: str) -> None:
        """Read what is outside of the blocks.

        Args:
            model: a hub id, a folder, a ``.gguf`` file or ``package:NAME``; without code of its own.
            dtype: float32 or bfloat16.

        Raises:
            InputError: if the model cannot be loaded, or is of a family whose blocks cannot be run one by one.
        """
        empty, self.tokenizer = load_without_weights(model)
        self.source, self.dtype = resolve_model(model), DTYPES[dtype]
        _check_family(self.source.name, empty.config, self.dtype, empty)
        self.folder = checkpoint_folder(self.source)
        config = AutoConfig.from_pretrained(self.folder)
        with quiet_transformers(), init_empty_weights(include_buffers=False):
            self.model = AutoModelForCausalLM.from_config(config, dtype=self.dtype)
        self.model.tie_weights()
        self.model.requires_grad_(False).train(False)
        self.model.config.get_text_config().use_cache = False
        if (self.folder / GENERATION_CONFIG_NAME).is_file():
            self.model.generation_config = GenerationConfig.from_pretrained(self.folder)
        self.stored = StoredWeights(self.folder, self.model)
        stored = stored_dtypes(self.folder)
        set_config_dtype(self.model, stored.main if stored else self.dtype)
        self._path, self.blocks = decoder_blocks(self.model)
        self._layers = all_prunable_layers(self.model)
        for name in self.outside():
            self._read(name)
        self.model.tie_weights()
        check_weights(self._outside_blocks())

    def outside(self) -> list[str]:
        """The names of the parameters outside of the blocks, tied ones once."""
        return [name for name, _ in self.model.named_parameters() if not name.startswith(f"{self._path}.")]

    def inside(self, index: int) -> list[str]:
        """The names of the parameters of a block."""
        return [f"{self._path}.{index}.{name}" for name, _ in self.blocks[index].named_parameters()]

    def layers_of(self, index: int) -> list[PrunableLayer]:
        """The prunable layers of a block."""
        return [layer for layer in self._layers if layer.decoder_layer == index]

    @contextmanager
    def resident(self, index: int) -> Iterator[nn.Module]:
        """A block with its weights in memory, until the end of the body.

        Raises:
            InputError: if a weight is not finite.
        """
        block = self.blocks[index]
        try:
            for name in self.inside(index):
                self._read(name)
            check_weights(block)
            yield block
        finally:
            for name in self.inside(index):
                parameter = self.model.get_parameter(name)
                self._put(name, torch.empty_like(parameter, device="meta"))

    @contextmanager
    def passing_through(self) -> Iterator[None]:
        """Let the model run without its blocks: each gives the hidden states that it is given."""

        def forward(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
            return hidden_states

        for block in self.blocks:
            block.forward = forward
        try:
            yield
        finally:
            for block in self.blocks:
                del block.forward

    def _outside_blocks(self) -> nn.ParameterDict:
        return nn.ParameterDict({name.replace(".", "/"): self.model.get_parameter(name) for name in self.outside()})

    def _read(self, name: str) -> None:
        # A copy, since what is read may be the file's own pages, and would be copied one by one as they are changed.
        self._put(name, self.stored.of(name).to(self.dtype, copy=True))

    def _put(self, name: str, values: Tensor) -> None:
        path, _, attribute = name.rpartition(".")
        parameter = nn.Parameter(values, requires_grad=False)
        setattr(self.model.get_submodule(path), attribute, parameter)


def _check_family(name: str, config: PreTrainedConfig, dtype: torch.dtype, model: PreTrainedModel) -> None:
    if config.model_type not in FAMILIES:
        raise InputError(
            f"The model {name!r} is of the family {config.model_type!r}, whose blocks are not known to run one by one "
            f"from disk; known are {', '.join(FAMILIES)}. Give another device."
        )
    if dtype == torch.float16:
        raise InputError(f"The model {name!r} is not computed from disk in float16; give dtype float32 or bfloat16.")
    if dtype != torch.float32 and getattr(model, "_keep_in_fp32_modules_strict", None):
        raise InputError(
            f"The family of the model {name!r} keeps some weights in float32, which a model on disk does not do; give "
            "dtype float32."
        )
