"""What the search wins by choosing which layers stay dense beside 2:4, in the same run.

    python benchmarks/dense_share.py [--share 0.1] [--seed 0] [--budget 4m]

SmolLM2-135M-Instruct, masks only. One search on 32 sequences of 512 tokens of the C4 sample. All rows are compared by
the KL divergence from the dense model on 8 further sequences, with the standard error of the difference from the
searched layers, and by perplexity on the first 16 windows of 1,024 tokens of the WikiText-2 test text. All rows but
Wanda's have the metrics that the search found; those of other layers have as many weights dense, in the last layers or
in layers drawn at random. The last line is JSON.
"""

import json
import statistics

import numpy as np
import torch
from common import c4_calibration, model_and_tokenizer, parser, wikitext_perplexity

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.metrics.metric import WANDA
from optishear.models.in_memory import frozen
from optishear.models.layers import prunable_layers
from optishear.parameters.read import read_parameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.layer_counts import density_of, layer_groups
from optishear.recipes.recipe import Recipe
from optishear.search_space.candidate import make_candidate
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics

FITTED, HELD_OUT = 32, 8
DRAWS = 2


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--share", type=float, default=0.1)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--budget", default="4m")
    options.add_argument("--set", nargs="*", default=[], help="further search parameters, as name=value")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    layers = prunable_layers(model)
    pattern = parse_pattern("2:4")
    calibration = c4_calibration(model, tokenizer, FITTED + HELD_OUT, 512, arguments.seed)
    tokens = calibration.tokens
    fitted = CalibrationSet(tokens[:FITTED], calibration.source)
    activations = collect_statistics(model, fitted)
    dense_weights = [layer.module.weight.clone() for layer in layers]
    changed = dict(item.split("=", 1) for item in arguments.set)
    with frozen(model):
        divergence = ModelDivergence(model, tokens[FITTED:], ("kl",))
    dense = wikitext_perplexity(model)
    settings = {"budget": arguments.budget, "dense_share": arguments.share, **changed}
    parameters = read_parameters(SearchParameters, settings)
    result = run_search(model, {"": fitted}, activations, parameters, pattern, seed=arguments.seed)
    searched = result.recipe
    front = {f"{recipe.dense_share:.3f}": round(recipe.objectives["kl"], 4) for recipe in result.front}
    print(result.reason)
    print(json.dumps({"trials": result.trials.num_rows, "front": front}), flush=True)
    groups = layer_groups(layers)
    density = density_of(layers, groups, [pattern.fraction, 0.0])

    def with_layers(levels: list[int]) -> Recipe:
        ratios = [density.fractions[levels[group]] for group in groups]
        return make_candidate(layers, pattern, dict(searched.metrics), ratios).recipe("rule", pattern)

    rows: dict[str, Recipe] = {
        "searched layers": searched,
        "last layers": with_layers(density.nearest(searched.dense_share)),
        "uniform 2:4": with_layers([0] * len(density.sizes)),
        "uniform 2:4, Wanda": Recipe(name="wanda", sparsity=pattern, metrics={"all": WANDA}),
    }
    for draw in range(DRAWS):
        values = np.random.default_rng(draw).random((len(density.sizes), 2)) * density.sizes[:, None]
        rows[f"random layers {draw}"] = with_layers(density.allocate(values, searched.dense_share))
    results = {}
    reference: list[float] = []
    for name, recipe in rows.items():
        summary = apply_recipe(model, recipe, activations)
        values = [distances["kl"] for distances in divergence.measure_sequences()]
        reference = reference or values
        differences = [value - other for value, other in zip(values, reference, strict=True)]
        results[name] = {
            "dense_share": round(recipe.dense_share, 4),
            "sparsity": round(summary.achieved_sparsity, 4),
            "kl": round(statistics.fmean(values), 4),
            "standard_error": round(statistics.stdev(differences) / len(differences) ** 0.5, 4),
            "perplexity": round(wikitext_perplexity(model), 2),
        }
        print(name, json.dumps(results[name]), flush=True)
        with torch.no_grad():
            for layer, weight in zip(layers, dense_weights, strict=True):
                layer.module.weight.copy_(weight)
    print(json.dumps({"dense_perplexity": round(dense, 2), "seed": arguments.seed, "front": front, "rows": results}))


if __name__ == "__main__":
    main()
