"""What reconstruction is worth: perplexity against SparseGPT's, in the same run, with the time of both.

    python benchmarks/quality.py [--sparsities 0.5 0.6 2:4 4:8] [--sequences 32] [--set name=value ...]
    python benchmarks/quality.py --search 0.6 --budget 5m      # recomputes the stored recipe for 0.6

SmolLM2-135M-Instruct; calibration on the published 32 sequences of 512 tokens of WikiText-2 validation text, evaluated
on the first 16 windows of 1,024 tokens of its test text. SparseGPT is this project's, with the published settings. Ours
is ADMM, then recovery on the same tokens, from the metric |W|·x, or from a recipe of ``benchmarks/results/quality``
where one is stored for the sparsity (layer ratios, searched on the same calibration tokens; the search's time is not
counted). Times are those of pruning, without loading and evaluation: seconds on the clock, and of all cores together,
which other work on the machine disturbs less. The last line is JSON."""

import copy
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from common import data_folder, model_and_tokenizer, parser, wikitext_windows
from texts import wikitext_file
from transformers.modeling_utils import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from optishear.calibration.calibration_set import CalibrationSet
from optishear.evaluation.perplexity import perplexity
from optishear.files import write_text
from optishear.models.layers import prunable_layers
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover
from optishear.recovery.text_stream import Position
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics

TARGETS = {"0.5": 0.84, "0.6": 0.70, "2:4": 0.78, "4:8": 0.82}
RESULTS = Path(__file__).parent / "results" / "quality"
OURS: dict[str, Any] = {
    "reconstruction": "admm",
    "reconstruction_sequences": 16,
    "reconstruction_iterations": 8,
}
RECOVERY_STEPS = 9
RECOVERY_SEQUENCES, RECOVERY_RATE = 2, 0.001
# One sequence in so many is held out of the recovery.
ONE_HELD_OUT_IN = 8


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sparsities", nargs="+", default=list(TARGETS))
    options.add_argument(
        "--sequences", type=int, default=32, help="calibration sequences: the published 32, then others"
    )
    options.add_argument("--windows", type=int, default=16, help="evaluation windows, of the published 16")
    options.add_argument("--set", nargs="*", default=[], help="further reconstruction parameters, as name=value")
    options.add_argument("--no-sparsegpt", action="store_true", help="ours alone")
    options.add_argument("--search", help="search the recipe of this sparsity, and store it")
    options.add_argument("--budget", default="5m", help="search time")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    tokens = calibration_tokens(tokenizer, arguments.sequences)
    calibration = CalibrationSet(tokens, source="WikiText-2 validation")
    if arguments.search:
        search(model, calibration, arguments.search, arguments.budget)
        return
    changed = dict(item.split("=", 1) for item in arguments.set)
    ours = read_parameters(ReconstructionParameters, {**OURS, **changed})
    windows = wikitext_windows()[: arguments.windows]
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    rows = []
    for sparsity in arguments.sparsities:
        row: dict[str, Any] = {"sparsity": sparsity}
        if not arguments.no_sparsegpt:
            published = read_parameters(ReconstructionParameters, {"reconstruction": "sparsegpt"})
            row["sparsegpt"] = pruned(model, named_recipe("wanda", sparsity), calibration, published, windows)
            model.load_state_dict(dense)
        row["ours"] = pruned(model, recipe_for(sparsity), calibration, ours, windows, recovers=True)
        model.load_state_dict(dense)
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(json.dumps(summary(rows, arguments.sequences, arguments.windows, ours)))


def calibration_tokens(tokenizer: PreTrainedTokenizerBase, sequences: int) -> torch.Tensor:
    """The published [32, 512] tokens, and beyond them others from anywhere in the same text."""
    published = torch.from_numpy(np.load(data_folder() / "peers" / "calibration_ids.npy")).long()
    missing = sequences - len(published)
    if missing <= 0:
        return published[:sequences]
    with TemporaryDirectory() as folder:
        text = wikitext_file(Path(folder), "valid").read_text(encoding="utf-8")
    ids = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    length = published.shape[1]
    starts = np.random.default_rng(0).integers(0, len(ids) - length, missing)
    return torch.cat([published, torch.stack([ids[start : start + length] for start in starts])])


class LastBlocksFirst:
    """Calibration tokens as the text of a recovery: the layers were fitted to the first, and others teach more."""

    def __init__(self, tokens: torch.Tensor) -> None:
        count = len(tokens) // ONE_HELD_OUT_IN
        self.held_out, self._blocks, self._used = tokens[-count:], tokens[:-count].flip(0), 0

    @property
    def positions(self) -> tuple[Position, ...]:
        """The number of used blocks."""
        return (Position(used=self._used),)

    def go_to(self, positions: Sequence[Position], _blocks: int) -> None:
        """Go on from there."""
        self._used = positions[0].used

    def take(self, count: int) -> torch.Tensor:
        """The next blocks, from the first again after the last."""
        numbers = [(self._used + number) % len(self._blocks) for number in range(count)]
        self._used += count
        return self._blocks[numbers]


def recipe_for(sparsity: str) -> Recipe:
    """The stored recipe of a sparsity, else Wanda's metric with the same ratio everywhere."""
    path = recipe_path(sparsity)
    return Recipe.load(path) if path.exists() else named_recipe("wanda", sparsity)


def recipe_path(sparsity: str) -> Path:
    return RESULTS / f"{sparsity.replace(':', 'of')}.yaml"


def search(model: PreTrainedModel, calibration: CalibrationSet, sparsity: str, budget: str) -> None:
    """Search the layer ratios of a sparsity on the calibration tokens, and store the recipe."""
    parameters = read_parameters(SearchParameters, {"budget": budget})
    statistics = collect_statistics(model, calibration)
    result = run_search(model, {"": calibration}, statistics, parameters, parse_pattern(sparsity), seed=0)
    result.recipe.save(recipe_path(sparsity))
    print(json.dumps({"recipe": recipe_path(sparsity).name, "objectives": result.recipe.objectives}))


def pruned(
    model: PreTrainedModel,
    recipe: Recipe,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
    windows: torch.Tensor,
    recovers: bool = False,
) -> dict[str, Any]:
    """Prune, recover if asked for, and evaluate: perplexity, seconds, and what each part brought."""
    dense = copy.deepcopy(model) if recovers else None
    clock, cores = time.perf_counter(), time.process_time()
    summary = reconstruct(model, recipe, None, calibration, parameters, layer_errors=False, progress=True)
    recovery = None
    if dense is not None:
        text = LastBlocksFirst(calibration.tokens)
        budget = Budget(None, RECOVERY_STEPS * RECOVERY_SEQUENCES * calibration.tokens.shape[1])
        layers = prunable_layers(model)
        recovery = recover(
            model, dense, layers, text, budget, sequences_per_step=RECOVERY_SEQUENCES, rate=RECOVERY_RATE
        )
    clock, cores = time.perf_counter() - clock, time.process_time() - cores
    return {
        "perplexity": round(perplexity(model, windows, batch_size=4), 3),
        "seconds": round(clock, 1),
        "core_seconds": round(cores, 1),
        "achieved_sparsity": round(summary.pruning.achieved_sparsity, 5),
        "converged_rows": round(float(np.mean(list(summary.converged.values()))), 3) if summary.converged else None,
        "held_out_kl": [round(recovery.before, 4), round(recovery.after, 4)] if recovery else None,
    }


def summary(rows: list[dict[str, Any]], sequences: int, windows: int, ours: ReconstructionParameters) -> dict[str, Any]:
    """The last line; also kept, where the run was a whole one."""

    def ratios(measure: str) -> dict[str, float]:
        return {
            row["sparsity"]: round(row["ours"][measure] / row["sparsegpt"][measure], 4)
            for row in rows
            if "sparsegpt" in row
        }

    result = {
        "ratio_to_sparsegpt": ratios("perplexity"),
        "targets": {row["sparsity"]: TARGETS.get(row["sparsity"]) for row in rows},
        "time_ratio": ratios("seconds"),
        "core_time_ratio": ratios("core_seconds"),
        "sequences": sequences,
        "windows": windows,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "parameters": ours.model_dump(mode="json"),
    }
    if windows == 16 and all("sparsegpt" in row for row in rows):
        names = "-".join(row["sparsity"].replace(":", "of") for row in rows)
        write_text(
            RESULTS / f"{names}-{sequences}.json", json.dumps({"rows": rows, "summary": result}, indent=1) + "\n"
        )
    return result


if __name__ == "__main__":
    main()
