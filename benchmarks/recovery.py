"""What recovery is worth: perplexity in ratio to the dense model's, by tokens, beside SparseGPT's in the same run.

    python benchmarks/recovery.py [--sparsities 2:4] [--texts c4] [--tokens 400000 1000000]
    python benchmarks/recovery.py --texts c4 wikitext --sparsities 0.5 0.6 0.7 2:4

SmolLM2-135M-Instruct. Training text is a C4 sample, or that and a part of WikiText-2's training text in turn. The
perplexity is on the first 16 windows of 1,024 tokens of WikiText-2's test text, which is never trained on. Masks and
first weights are those of ADMM on 32 sequences of the C4 sample, from the metric |W|·x or from a recipe of
``benchmarks/results/quality`` where one is stored for the sparsity. Each number of tokens is a budget of its own, from
the same start. A killed run goes on where it was. The last line is JSON."""

import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from common import c4_calibration, data_folder, model_and_tokenizer, parser, wikitext_perplexity
from quality import recipe_for
from transformers.modeling_utils import PreTrainedModel

from optishear.files import write_text
from optishear.models.layers import prunable_layers
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint
from optishear.recovery.recover import recover
from optishear.recovery.recovery_text import HELD_OUT, RecoveryText

RESULTS = Path(__file__).parent / "results" / "recovery"
TEXTS = {"c4": ("calibration", "c4_sample.jsonl"), "wikitext": ("wikitext2", "wikitext2_train_5k.txt")}
# The largest ratio to the dense model's perplexity, by texts, sparsity and tokens.
TARGETS = {
    ("c4", "2:4", 400_000): 1.95,
    ("c4", "2:4", 1_000_000): 1.75,
    ("c4+wikitext", "0.5", 1_000_000): 1.22,
    ("c4+wikitext", "0.6", 1_000_000): 1.45,
    ("c4+wikitext", "0.7", 1_000_000): 2.2,
    ("c4+wikitext", "2:4", 1_000_000): 1.50,
}
LENGTH = 512


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sparsities", nargs="+", default=["2:4"])
    options.add_argument("--texts", nargs="+", default=["c4"], choices=list(TEXTS))
    options.add_argument("--tokens", nargs="+", type=int, default=[400_000, 1_000_000])
    options.add_argument("--sequences", type=int, help="sequences of a step, in place of the rule's")
    options.add_argument("--step-length", type=int, help="tokens of each of them, in place of the rule's")
    options.add_argument("--rate", type=float, help="largest step, in place of the rule's")
    options.add_argument("--no-sparsegpt", action="store_true", help="ours alone")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    dense = copy.deepcopy(model)
    dense_perplexity = wikitext_perplexity(dense)
    calibration = c4_calibration(model, tokenizer, 32, LENGTH, 0)
    sources = [str(data_folder().joinpath(*TEXTS[name])) for name in arguments.texts]
    rows = []
    for sparsity in arguments.sparsities:
        row: dict[str, Any] = {"sparsity": sparsity, "texts": "+".join(arguments.texts), "dense": dense_perplexity}
        if not arguments.no_sparsegpt:
            by_sparsegpt = copy.deepcopy(dense)
            published = read_parameters(ReconstructionParameters, {"reconstruction": "sparsegpt"})
            reconstruct(by_sparsegpt, named_recipe("wanda", sparsity), None, calibration, published, layer_errors=False)
            row["sparsegpt"] = measured(by_sparsegpt, dense_perplexity, 0.0, 0)
        start = copy.deepcopy(dense)
        by_admm = read_parameters(ReconstructionParameters, {"reconstruction": "admm"})
        cores = time.process_time()
        reconstruct(start, recipe_for(sparsity), None, calibration, by_admm, layer_errors=False)
        row["start"] = measured(start, dense_perplexity, time.process_time() - cores, 0)
        print(json.dumps(row), flush=True)
        for tokens in arguments.tokens:
            pruned = copy.deepcopy(start)
            text = RecoveryText(sources, dense, tokenizer, LENGTH, HELD_OUT, seed=0, bos="each-window")
            cores = time.process_time()
            steps = f"{arguments.sequences}-{arguments.step_length}-{arguments.rate}"
            name = f"{sparsity.replace(':', 'of')}-{row['texts']}-{tokens}-{steps}"
            summary = recover(
                pruned,
                dense,
                prunable_layers(pruned),
                text,
                Budget(None, tokens),
                sequences_per_step=arguments.sequences,
                step_length=arguments.step_length,
                rate=arguments.rate,
                state_file=RESULTS / f"{name}.safetensors",
                on_check=show,
            )
            result = measured(pruned, dense_perplexity, time.process_time() - cores, summary.tokens)
            result |= {
                "held_out_kl": [round(summary.before, 4), round(summary.after, 4)],
                "sequences_per_step": summary.sequences_per_step,
                "step_length": summary.step_length,
                "rate": summary.rate,
                "target": TARGETS.get((row["texts"], sparsity, tokens)),
                "curve": [[point.tokens, round(point.seconds), round(point.kl, 4)] for point in summary.curve],
            }
            row[str(tokens)] = result
            write_text(RESULTS / f"{name}.json", json.dumps({**row, "threads": torch.get_num_threads()}) + "\n")
            (RESULTS / f"{name}.safetensors").unlink(missing_ok=True)
            print(json.dumps({"sparsity": sparsity, **result}), flush=True)
        rows.append(row)
    print(json.dumps({"rows": rows, "threads": torch.get_num_threads(), "cores": os.cpu_count()}))


def show(curve: Any, done: float) -> None:
    """Print a check."""
    point: CurvePoint = curve[-1]
    print(f"{done:.0%} {point.tokens:,} tokens {point.seconds:.0f} s {point.kl:.4f}", flush=True)


def measured(model: PreTrainedModel, dense: float, core_seconds: float, tokens: int) -> dict[str, Any]:
    """Perplexity of a model, and what it took."""
    perplexity = wikitext_perplexity(model)
    return {
        "perplexity": round(perplexity, 2),
        "ratio_to_dense": round(perplexity / dense, 3),
        "core_seconds": round(core_seconds, 1),
        "tokens": tokens,
    }


if __name__ == "__main__":
    main()
