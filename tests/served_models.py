"""Tiny models of the families that other engines run, with tokenizers that llama.cpp has, of 320 tokens."""

from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.modeling_utils import PreTrainedModel

ROWS = 320
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_WORDS = ["the", "Ġthe", "Ġhat", "12", "and", "Ġand", "Ġin", "ing"]
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 256,
}
_HEAD = {"head_dim": 32}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
CONFIGURATIONS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "llama3": LlamaConfig(**_SIZES, attention_bias=True, rope_parameters=_LLAMA3),
    "llama-linear": LlamaConfig(**_SIZES, rope_parameters=_LINEAR),
    "mistral": MistralConfig(**_SIZES, **_HEAD, sliding_window=128),
    "qwen2": Qwen2Config(**_SIZES),
    "qwen3": Qwen3Config(**_SIZES, **_HEAD),
    "gemma": GemmaConfig(**_SIZES, **_HEAD),
    "gemma3": Gemma3TextConfig(
        **_SIZES | {"num_hidden_layers": 7}, **_HEAD, sliding_window=16, query_pre_attn_scalar=32
    ),
}


def byte_level_tokenizer(splits: str = "digits") -> PreTrainedTokenizerFast:
    """Merges of bytes, as SmolLM2 and Qwen2 have them.

    Args:
        splits: ``digits`` splits numbers into digits, ``gpt2`` does not; else a regular expression.
    """
    vocabulary = {
        token: number for number, token in enumerate([*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    }
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        parts = list(word)
        while len(parts) > 1:
            pair = next((pair for pair in pairwise(parts) if pair in merges), (parts[0], parts[1]))
            if pair not in merges:
                merges.append(pair)
                vocabulary.setdefault("".join(pair), len(vocabulary))
            place = next(place for place, each in enumerate(pairwise(parts)) if each == pair)
            parts[place : place + 2] = ["".join(pair)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splits in ("digits", "gpt2"))
    if splits == "digits":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    elif splits == "gpt2":
        tokenizer.pre_tokenizer = byte_level
    else:
        split = pre_tokenizers.Split(Regex(splits), behavior="isolated", invert=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=_SPECIAL[0], bos_token=_SPECIAL[1], eos_token=_SPECIAL[2]
    )


def characters_tokenizer() -> PreTrainedTokenizerFast:
    """Merges of characters with bytes for the others, as Gemma and Llama 2 have them; puts ``<bos>`` before a text."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    letters = [*"▁theandigs,.1"]
    pairs = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "a"), ("a", "n"), ("▁a", "n"), ("i", "n"), ("▁", "▁")]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokens += ["".join(pair) for pair in pairs if "".join(pair) not in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=pairs, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


def served_model(config: PreTrainedConfig, seed: int = 0) -> PreTrainedModel:
    """A random model of a configuration, with 320 tokens, whose next tokens are far from ties."""
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms near 1, of any family, and biases near 0
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
            else:
                parameter.normal_(std=0.2)
    return model.eval()


def saved_model(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A random model of a family, written to a folder with its tokenizer."""
    model = served_model(CONFIGURATIONS[family]).to(dtype)
    model.save_pretrained(folder)
    tokenizer = characters_tokenizer() if family.startswith("gemma") else byte_level_tokenizer()
    tokenizer.save_pretrained(folder)
    return model
