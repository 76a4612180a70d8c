"""Divergence against forwarded tokens, for ways to find the sparsity ratios of a model.

    python benchmarks/search_efficiency.py [--sparsities 0.6 0.7] [--seeds 0 1 2 3 4] [--tokens 1000000]

SmolLM2-135M-Instruct; one ratio per linear layer, Wanda's masks. A seed draws the calibration (32 sequences of 512
tokens of the C4 sample) and all random choices. Each way has the same budget of forwarded tokens: a candidate costs
its sequences, and a backward pass counts as two forward passes. ``best`` is the KL divergence from the dense model on
the four search sequences, ``held_out`` that of the best candidate on the last eight, which no way sees.

``uniform``, ``owl``, ``dlp`` and ``alphapruning`` are one candidate each. ``random``, ``evopress`` (1 + 24), ``nsga3``
and ``descent`` start at uniform ratios. ``priors+descent`` measures the four and arithmetic progressions first, and
descends from the best, as a search does.

Finished curves are kept in ``--results`` and not computed again. The last line is JSON: by sparsity and way the medians
over the seeds, and the share of EvoPress's tokens after which a way is as good as EvoPress is at the end.
"""

import json
import statistics as averages
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import c4_calibration, model_and_tokenizer, parser

from optishear.divergence.model_divergence import ModelDivergence
from optishear.files import write_text
from optishear.metrics.metric import WANDA
from optishear.models.in_memory import frozen
from optishear.models.layers import PrunableLayer, prunable_layers
from optishear.models.memory import free_memory
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern, parse_pattern
from optishear.ratios.priors import prior_curves
from optishear.search_space.candidate import Candidate
from optishear.search_space.space import Space, search_space
from optishear.searching.algorithms.registry import algorithm_for
from optishear.searching.descent import RatioDescent
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.run import PATIENCE
from optishear.searching.sensitivity import marginal_costs
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics

FIXED = ("uniform", "owl", "dlp", "alphapruning")
WAYS = (*FIXED, "random", "evopress", "nsga3", "descent", "priors+descent")
SEQUENCES, LENGTH, SEARCHED, HELD_OUT = 32, 512, 4, 8
POPULATION = 24
# A backward pass takes about twice the operations of the forward pass.
BACKWARD = 2
RESULTS = Path(__file__).parent / "results" / "search_efficiency"


@dataclass
class Tally:
    """Evaluates candidates and counts the tokens.

    Attributes:
        tokens: forwarded so far.
        curve: tokens and best divergence after each candidate.
    """

    weights: MaskedWeights
    divergence: ModelDivergence
    layers: list[PrunableLayer]
    budget: int
    tokens: int = 0
    best: tuple[float, Candidate | None] = (float("inf"), None)
    curve: list[tuple[int, float]] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)

    @property
    def is_spent(self) -> bool:
        """Whether the next candidate would exceed the budget."""
        return self.tokens + SEARCHED * LENGTH > self.budget

    def evaluate(self, candidate: Candidate) -> float:
        """The divergence of a candidate; free if it was evaluated before."""
        if candidate.key not in self.known:
            self.weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            self._note(candidate, self.divergence.measure(SEARCHED)["kl"], SEARCHED * LENGTH)
        return self.known[candidate.key]

    def costs(self, candidate: Candidate, first: int) -> list[float]:
        """The marginal costs of a candidate on search sequences from ``first``; on the first, its divergence too."""
        self.weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
        costs, distances = marginal_costs(self.weights, self.divergence, self.layers, first, SEARCHED)
        tokens = (1 + BACKWARD) * SEARCHED * LENGTH
        if first == 0 and candidate.key not in self.known:
            self._note(candidate, averages.fmean(distance["kl"] for distance in distances), tokens)
        else:
            self.tokens += tokens
        return costs

    def _note(self, candidate: Candidate, value: float, tokens: int) -> None:
        self.tokens += tokens
        self.known[candidate.key] = value
        self.best = min(self.best, (value, candidate), key=lambda pair: pair[0])
        self.curve.append((self.tokens, self.best[0]))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sparsities", nargs="+", default=["0.6", "0.7"])
    options.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options.add_argument("--tokens", type=int, default=1_000_000, help="budget of each search in forwarded tokens")
    options.add_argument("--results", type=Path, default=RESULTS, help="folder for the curves")
    arguments = options.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    model, tokenizer = model_and_tokenizer(arguments)
    layers = prunable_layers(model)
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for seed in arguments.seeds:
        missing = [
            (sparsity, way)
            for sparsity in arguments.sparsities
            for way in arguments.ways
            if not path_of(arguments, sparsity, way, seed).exists()
        ]
        if missing:
            calibration = c4_calibration(model, tokenizer, SEQUENCES, LENGTH, seed)
            statistics = collect_statistics(model, calibration)
            fitted = calibration.tokens[: SEQUENCES - HELD_OUT]
            divergence = ModelDivergence(model, fitted, ("kl",), measured=SEARCHED)
            held_out = ModelDivergence(model, calibration.tokens[-HELD_OUT:], ("kl",))
        for sparsity, way in missing:
            pattern = parse_pattern(sparsity)
            starts = curves_of(way, layers, statistics, pattern)
            memory = free_memory(layers[0].module.weight.device) / 4
            with frozen(model), MaskedWeights(layers, statistics, pattern, memory) as weights:
                tally = Tally(weights, divergence, layers, arguments.tokens)
                search(way, tally, starts, pattern, seed)
                candidate = tally.best[1]
                assert candidate is not None
                weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
                kept = {"curve": tally.curve, "held_out": held_out.measure()["kl"]}
            write_text(path_of(arguments, sparsity, way, seed), json.dumps(kept) + "\n")
        for sparsity in arguments.sparsities:
            for way in arguments.ways:
                curve = json.loads(path_of(arguments, sparsity, way, seed).read_text(encoding="utf-8"))
                curves.setdefault(sparsity, {}).setdefault(way, []).append(curve)
                print(sparsity, way, seed, *curve["curve"][-1], curve["held_out"], flush=True)
    print(json.dumps({sparsity: summary(ways) for sparsity, ways in curves.items()}))


def path_of(arguments: Namespace, sparsity: str, way: str, seed: int) -> Path:
    """The file of a curve."""
    folder: Path = arguments.results
    return folder / f"{sparsity}-{way}-{seed}-{arguments.tokens}.json"


def curves_of(
    way: str, layers: list[PrunableLayer], statistics: Statistics, pattern: Pattern
) -> dict[str, list[float]]:
    """The ratios that a way begins with, computed from the dense weights."""
    priors = {"priors+descent": ("uniform", "linear", *FIXED[1:])}.get(way, (way if way in FIXED else "uniform",))
    curves: dict[str, list[float]] = {}
    for prior in priors:
        curves |= prior_curves(prior, layers, statistics, pattern.fraction)  # type: ignore[arg-type]
    return curves


def search(way: str, tally: Tally, curves: dict[str, list[float]], pattern: Pattern, seed: int) -> None:
    """Run one way until its tokens are spent; candidates that are known cost nothing."""
    space = search_space("ratios", SearchParameters(), tally.layers, pattern, {"all": WANDA})
    starts = [
        space.candidate(space.fixed_metrics, space.curve_ratios(curve).tolist(), exact=True)
        for curve in curves.values()
    ]
    starts.sort(key=tally.evaluate)
    if way.endswith("descent"):
        descend(tally, space, starts[0])
    elif way not in FIXED:
        start = [space.encode_ratios(starts[0])]
        algorithm = algorithm_for(way, "ratios")(space, start, 1, POPULATION, seed)
        idle = 0
        while not tally.is_spent and idle < PATIENCE:
            values = []
            before = tally.tokens
            genomes = algorithm.ask()
            for genome in genomes:
                if tally.is_spent:
                    return
                values.append([tally.evaluate(space.decode(genome))])
            algorithm.tell(genomes, np.array(values))
            idle = idle + 1 if tally.tokens == before else 0


def descend(tally: Tally, space: Space, start: Candidate) -> None:
    """The descent of a search: its steps go through the fitted sequences, a few at a time."""
    descent = RatioDescent(space.candidate_ratios(start), space.group_sizes(), *space.ratio_bounds())
    batches = len(tally.divergence.tokens) // SEARCHED
    begun, step = tally.tokens, 0
    while not tally.is_spent:
        candidate = space.candidate(space.fixed_metrics, descent.ratios.tolist(), exact=True)
        costs = tally.costs(candidate, step % batches * SEARCHED)
        tally.evaluate(candidate)
        descent.step(space.group_means(costs), (tally.tokens - begun) / (tally.budget - begun))
        step += 1


def summary(ways: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float | None]]:
    """Medians over the seeds, and the share of EvoPress's tokens that a way takes to EvoPress's last value."""
    return {
        way: {
            "tokens": averages.median(curve["curve"][-1][0] for curve in curves),
            "best": averages.median(curve["curve"][-1][1] for curve in curves),
            "held_out": averages.median(curve["held_out"] for curve in curves),
            "share_of_evopress": share(curves, ways["evopress"]) if "evopress" in ways else None,
        }
        for way, curves in ways.items()
    }


def share(curves: list[dict[str, Any]], references: list[dict[str, Any]]) -> float | None:
    """The median share of the reference's tokens to its last value, seed by seed; ``None`` if a seed misses it."""
    shares = []
    for curve, reference in zip(curves, references, strict=True):
        spent, target = reference["curve"][-1]
        reached = next((tokens for tokens, best in curve["curve"] if best <= target), None)
        if reached is None:
            return None
        shares.append(reached / spent)
    return averages.median(shares)


if __name__ == "__main__":
    main()
