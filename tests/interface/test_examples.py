"""The examples of the docstrings and of docs/library.md run, on a tiny random model."""

import copy
import doctest
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

import optishear
from tiny import VOCABULARY, random_text

LIBRARY = Path(__file__).resolve().parents[2] / "docs" / "library.md"


def example_of(name: str) -> doctest.DocTest:
    documented = optishear if name == "optishear" else getattr(optishear, name)
    assert documented.__doc__
    return doctest.DocTestParser().get_doctest(documented.__doc__, {"optishear": optishear}, name, None, None)


@pytest.mark.parametrize("name", ["optishear", *optishear.__all__])
def test_docstring_examples(
    name: str,
    tiny_llama: PreTrainedModel,
    tiny_tokenizer: PreTrainedTokenizerFast,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(model_folder.parent)
    example = example_of(name)
    assert example.examples
    example.globs |= {"copy": copy, "model": tiny_llama, "tokenizer": tiny_tokenizer}
    report: list[str] = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


def test_the_library_page_runs(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder takes the place of the hub's model, and a short text the place of the user's own."""
    [code] = re.findall(r"```python\n(.*?)```", LIBRARY.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(code.splitlines()) <= 30
    model = re.search(r'load_model\("([^"]+)"', code)
    assert model
    monkeypatch.chdir(tmp_path)
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCABULARY,
        max_position_embeddings=1024, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(model[1])
    tiny_tokenizer.save_pretrained(model[1])
    Path("notes.txt").write_text(random_text(60), encoding="utf-8")
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    exec(code, page.__dict__)
    assert optishear.load_model("pruned").model.config.hidden_size == 32
    assert page.summary.achieved_sparsity == pytest.approx(0.5, abs=0.001)
    assert page.pruned.perplexity > 1
