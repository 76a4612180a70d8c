"""Tiny random models, one per family, and calibration sets to match."""

import random
import string

import torch
from tokenizers import Tokenizer, decoders, models, processors
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet

VOCABULARY = 128
WORDS = "the rest of this heat is on that other hand and it has no end in these rooms".split()
FAMILIES = {
    "llama": LlamaConfig(num_key_value_heads=2, tie_word_embeddings=True),
    "mistral": MistralConfig(num_key_value_heads=2),
    "qwen2": Qwen2Config(num_key_value_heads=2),
    "gemma": GemmaConfig(num_key_value_heads=2),
    "opt": OPTConfig(ffn_dim=64, word_embed_proj_dim=32),
}


def tiny_model(family: str = "llama", layers: int = 2, seed: int = 0) -> PreTrainedModel:
    """A random model of a family: hidden size 32, MLP width 64, 4 heads, 128 tokens, float32."""
    config = FAMILIES[family].__class__(**FAMILIES[family].to_diff_dict())
    for name, value in {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }.items():
        setattr(config, name, value)
    if hasattr(config, "head_dim"):
        config.head_dim = 8
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    # The library's own start is so near zero that pruning hardly moves the outputs.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.2)
    return model.eval()


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of 128 tokens that fits the tiny models, and decodes what it encoded.

    One token for each printable ASCII character, one for each of 24 pairs of letters; ``<pad>``, ``<s>``,
    ``</s>`` and ``<unk>`` are 0 to 3. As Llama's does, it puts ``<s>`` before a text unless told not to.
    """
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    characters = list(string.printable)
    pairs = "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as".split()
    vocabulary = {token: i for i, token in enumerate(special + characters + pairs)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[(first, second) for first, second in pairs], unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=256,
    )


def random_calibration(sequences: int = 6, length: int = 16, seed: int = 3) -> CalibrationSet:
    """Random token blocks of the tiny models' vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return CalibrationSet(torch.randint(3, VOCABULARY, (sequences, length), generator=generator), source="random")


def random_text(paragraphs: int) -> str:
    """Paragraphs of 60 common words, the same at every run."""
    words = random.Random(0)
    return "\n\n".join(" ".join(words.choices(WORDS, k=60)) + "." for _ in range(paragraphs))
