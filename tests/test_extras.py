"""Packages of extras: the library works without them, and says which one a function needs."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.modeling_utils import PreTrainedModel

import optishear
from optishear import extras
from optishear.errors import InputError
from optishear.evaluation.evaluate import check_evaluation
from optishear.parameters.evaluation import EvaluationParameters

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = [
    "gguf",
    "google.protobuf",
    "jinja2",
    "llama_cpp",
    "lm_eval",
    "matplotlib",
    "optuna",
    "ray",
    "sentencepiece",
    "torchao",
]
# torch imports jinja2 by itself, and has it among its own dependencies.
BLOCKED = [module for module in OPTIONAL if module != "jinja2"]
PATHS = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
"""
LIBRARY = """
import importlib, pkgutil
import optishear
from tiny import make_tokenizer, tiny_model

for module in pkgutil.walk_packages(optishear.__path__, "optishear.", onerror=lambda name: None):
    if not module.name.startswith("optishear.report"):
        importlib.import_module(module.name)
model, tokenizer = tiny_model(), make_tokenizer()
size = {"sequences": 8, "sequence_length": 64}
recipe = optishear.search(model, tokenizer, trials=12, progress=False, **size)
print(optishear.prune(model, recipe, tokenizer=tokenizer, progress=False, **size).achieved_sparsity)
"""
COMMAND = "from flows.command_line.main import main; main(['run', *sys.argv[1:]])"


def python(blocked: list[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process where the imports of some packages fail."""
    code = f"{PATHS}sys.modules.update(dict.fromkeys({blocked}))\n{code}"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package look as if it were not installed."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)


def test_search_and_prune_need_none_of_them() -> None:
    result = python(BLOCKED, LIBRARY)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == pytest.approx(0.5, abs=0.001)


def test_the_command_line_names_the_extra_before_anything_expensive(tmp_path: Path, model_folder: Path) -> None:
    arguments = ["--model", str(model_folder), "--sequence-length", "64", "--window-length", "64"]
    result = python(["matplotlib"], COMMAND, *arguments, "--output", str(tmp_path / "output"))
    assert result.returncode == 2
    sentence = result.stderr.splitlines()[-1]
    assert sentence.startswith("Error: ")
    assert "'matplotlib'" in sentence
    assert sentence.endswith("pip install 'optishear[report]'")
    assert not list(tmp_path.glob("output/*"))


def test_tasks(block: Callable[[str], None], tiny_llama: PreTrainedModel) -> None:
    block("lm_eval")
    with pytest.raises(InputError, match=r"'arc_easy'.*'optishear\[evaluation\]'"):
        check_evaluation(EvaluationParameters(tasks=["arc_easy"]))
    with pytest.raises(InputError, match=r"'arc_easy'.*'optishear\[evaluation\]'"):
        optishear.evaluate(tiny_llama, None, tasks=["arc_easy"])  # type: ignore[arg-type]


def test_gguf_files(block: Callable[[str], None], tmp_path: Path) -> None:
    block("gguf")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"'model.gguf'.*'optishear\[gguf\]'"):
        optishear.load_model(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf"])
def test_tokenizers_of_sentencepiece(
    block: Callable[[str], None], missing: str, model_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "with-tokenizer-model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(b"not read")
    block(missing)
    with pytest.raises(InputError, match=r"with-tokenizer-model.*'optishear\[sentencepiece\]'"):
        optishear.load_model(str(folder))


def test_wording(block: Callable[[str], None]) -> None:
    block("lm_eval")
    with pytest.raises(InputError) as caught:
        extras.require(["torch", "lm_eval"], "The task 'arc_easy'")
    assert str(caught.value) == (
        "The task 'arc_easy' needs the package 'lm-eval', which is not installed; install it with: "
        "pip install 'optishear[evaluation]'"
    )


def test_every_extra_is_declared_and_the_pipeline_brings_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {extra: " ".join(packages) for extra, packages in project["optional-dependencies"].items()}
    assert sorted(extras._EXTRAS) == OPTIONAL
    core = {re.split(r"[<>=\[]", package)[0] for package in project["dependencies"]}
    for package, extra in extras._EXTRAS.values():
        assert package in declared[extra]
        assert package not in core
        assert extra in ("tpe", "llama-cpp", "torchao", "workers") or extra in re.findall(
            r"[\w-]+", declared["pipeline"]
        )
    for extra in ("demo", "servers", "dev"):
        assert "pipeline" in declared[extra]
