"""GGUF files, made on the spot."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest


@pytest.fixture
def write_gguf() -> Callable[..., Path]:
    """A function that writes a tiny Llama as a GGUF file, with one weight left out or added where asked."""
    return _write_gguf


def _write_gguf(path: Path, without: str = "", extra: str = "") -> Path:
    hidden, inner, heads, vocabulary = 32, 64, 4, 40
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(hidden)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(hidden // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    tokens = ["<unk>", "<s>", "</s>", *(chr(ord("a") + i) for i in range(26)), "ab"]
    tokens += [f"<{i}>" for i in range(vocabulary - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (vocabulary - 3))
    writer.add_token_merges(["a b"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(0)
    shapes = {
        "token_embd": (vocabulary, hidden),
        "output_norm": (hidden,),
        "blk.0.attn_norm": (hidden,),
        "blk.0.ffn_norm": (hidden,),
        **{f"blk.0.attn_{part}": (hidden, hidden) for part in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{part}": (inner, hidden) for part in ("gate", "up")},
        "blk.0.ffn_down": (hidden, inner),
    }
    for name, shape in shapes.items():
        if name != without:
            writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    if extra:
        writer.add_tensor(extra, np.ones(hidden, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
