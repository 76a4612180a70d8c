"""What the searched recipes are worth: perplexity against Wanda's, in the same run.

    python benchmarks/search_quality.py [--sparsities 0.5 0.6 0.7 2:4] [--seeds 0 1 2] [--budget 5m]

Without ``--budget`` each sparsity has its own (``BUDGETS``); where it is longer than three minutes, the best candidate
after three is evaluated too (``after_3m``).

SmolLM2-135M-Instruct; calibration on the C4 sample (32 sequences of 512 tokens, another draw for each seed). The search
never sees the test text. All recipes, Wanda, RIA and magnitude use the same calibration and are evaluated on the first
16 windows of 1,024 tokens of the WikiText-2 test text. Masks only, no weight is updated. Recipes and figures are kept
in ``benchmarks/results/search_quality``. The last line is JSON; ``ratio_to_wanda`` is the median over the seeds.
"""

import json
import statistics
import time
from pathlib import Path

from common import c4_calibration, model_and_tokenizer, parser, wikitext_perplexity

from optishear.files import write_text
from optishear.models.layers import prunable_layers
from optishear.parameters.read import read_parameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import Recipe, named_recipe
from optishear.searching.search import run_search
from optishear.searching.trials import Trial, best_first
from optishear.statistics.collect import collect_statistics
from optishear.units import parse_duration

TARGETS = {"0.5": 0.88, "0.6": 0.68, "0.7": 0.45, "2:4": 0.88}
# On two cores. A pattern that fixes the ratios leaves the metrics, whose sweep tries seven paths one after another.
BUDGETS = {"2:4": "6m"}
BUDGET = "2m"
EARLY_SECONDS = 180
RESULTS = Path(__file__).parent / "results" / "search_quality"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sparsities", nargs="+", default=list(TARGETS))
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options.add_argument("--budget", help="search time for each recipe")
    options.add_argument("--resume", action="store_true", help="take over the rows that an interrupted run has kept")
    options.add_argument("--set", nargs="*", default=[], help="further search parameters, as name=value")
    arguments = options.parse_args()
    model, tokenizer = model_and_tokenizer(arguments)
    layers = prunable_layers(model)
    dense_weights = [layer.module.weight.clone() for layer in layers]
    dense = wikitext_perplexity(model)
    rows = []
    magnitude: dict[str, float] = {}
    for seed in arguments.seeds:
        calibration = c4_calibration(model, tokenizer, 32, 512, seed)
        activations = collect_statistics(model, calibration)

        def evaluate(recipe: Recipe, activations=activations) -> float:  # type: ignore[no-untyped-def]
            apply_recipe(model, recipe, activations)
            perplexity = wikitext_perplexity(model)
            for layer, weight in zip(layers, dense_weights, strict=True):
                layer.module.weight.data.copy_(weight)
            return perplexity

        for sparsity in arguments.sparsities:
            budget = arguments.budget or BUDGETS.get(sparsity, BUDGET)
            name = f"{sparsity.replace(':', 'of')}-seed{seed}-{budget}"
            file = RESULTS / f"{name}.json"
            if arguments.resume and file.exists():
                rows.append(json.loads(file.read_text(encoding="utf-8")))
                continue
            changed = dict(item.split("=", 1) for item in arguments.set)
            parameters = read_parameters(SearchParameters, {"budget": budget, **changed})
            pattern = parse_pattern(sparsity)
            started = time.perf_counter()
            early: list[Recipe] = []

            def watch(trials: list[Trial], started=started, early=early, pattern=pattern) -> None:  # type: ignore[no-untyped-def]
                if not early and time.perf_counter() - started >= EARLY_SECONDS:
                    most = max(trial.sequences for trial in trials)
                    best = best_first([trial for trial in trials if trial.sequences == most])[0]
                    early.append(best.candidate.recipe("early", pattern))

            result = run_search(
                model, {"": calibration}, activations, parameters, pattern, seed=seed, on_generation=watch
            )
            seconds = time.perf_counter() - started
            # Magnitude alone does not depend on the calibration, so it is evaluated once.
            if sparsity not in magnitude:
                magnitude[sparsity] = evaluate(named_recipe("magnitude", sparsity))
            named = {name: evaluate(named_recipe(name, sparsity)) for name in ("wanda", "ria")}
            named["magnitude"] = magnitude[sparsity]
            searched = evaluate(result.recipe)
            result.recipe.save(RESULTS / f"{name}.yaml")
            row = {
                "sparsity": sparsity,
                "seed": seed,
                "budget": budget,
                "search_seconds": round(seconds, 1),
                "trials": result.trials.num_rows,
                **{key: round(value, 3) for key, value in named.items()},
                "searched": round(searched, 3),
                "ratio_to_wanda": round(searched / named["wanda"], 4),
            }
            if early and parse_duration(budget).seconds > EARLY_SECONDS:
                row["after_3m"] = round(evaluate(early[0]), 3)
            print(json.dumps(row), flush=True)
            rows.append(row)
            write_text(file, json.dumps(row, indent=1) + "\n")
    ratios = {
        sparsity: round(statistics.median(row["ratio_to_wanda"] for row in rows if row["sparsity"] == sparsity), 4)
        for sparsity in arguments.sparsities
    }
    never_worse = all(row["searched"] <= min(row["wanda"], row["ria"], row["magnitude"]) for row in rows)
    print(
        json.dumps(
            {
                "ratio_to_wanda": ratios,
                "targets": {sparsity: TARGETS.get(sparsity) for sparsity in arguments.sparsities},
                "never_worse_than_named": never_worse,
                "dense": round(dense, 3),
                "seeds": arguments.seeds,
                "budgets": {row["sparsity"]: row["budget"] for row in rows},
            }
        )
    )


if __name__ == "__main__":
    main()
