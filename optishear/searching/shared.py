"""One recipe for several models: a search whose objectives are the models' errors.

A candidate of the deepest model is decoded to every other one as its recipe would be: metrics by path, kind or
``all``, ratios by relative depth, each model at the target exactly. So the space, the algorithms and the choice are
those of a search on one model.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.metrics.metric import WANDA
from optishear.models.layers import PrunableLayer, block_path, prunable_layers
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.pruning.apply import check_pattern
from optishear.recipes.layer_ratios import curves_by_path, layer_ratios, resample
from optishear.search_space.candidate import Candidate, make_candidate
from optishear.searching.choice import choose
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.held_out import HeldOut
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.run import Progress, SearchRun
from optishear.searching.search import (
    SearchResult,
    check_sequences,
    gradient_sequences,
    memory_budget,
    search_result,
)
from optishear.statistics.statistics import Statistics


@dataclass(frozen=True)
class Member:
    """One model of a shared search.

    Attributes:
        name: in the objectives' names.
        model: dense.
        calibration: its search tokens, of its own tokenizer.
        statistics: taken on it.
        journal: file of measurements, which may be the one of its own searches on the same calibration.
    """

    name: str
    model: PreTrainedModel
    calibration: CalibrationSet
    statistics: Statistics
    journal: Path | None = None


def search_shared(
    members: list[Member],
    parameters: SearchParameters,
    pattern: Pattern,
    seed: int = 0,
    origin: dict[str, object] | None = None,
    on_generation: Progress | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search one recipe for several models in memory; all are dense again afterwards.

    The recipe chosen is the one whose worst ratio to Wanda's error over the models is smallest. It has the layers and
    the depth of the deepest model (the first of these); applied to another, it is mapped as any recipe is.

    Args:
        members: at least two, with names of their own.
        parameters: as for ``run_search``. The time budget is for one model: a candidate is measured on every model, so
            the search has the sum over all. Trials are candidates, as in ``run_search``.
        pattern: the target.
        seed: decides every random choice.
        origin: where the recipe comes from, kept in it.
        on_generation: called with all trials so far after every generation.
        progress: show a progress bar.

    Raises:
        InputError: if the parameters contradict each other or do not fit a model.
    """
    check_shared(parameters)
    if parameters.budget is not None:
        parameters = parameters.model_copy(update={"budget": parameters.budget.times(len(members))})
    layers = {member.name: prunable_layers(member.model) for member in members}
    for member in members:
        check_pattern(pattern, layers[member.name])
    check_sequences(parameters, {member.name: member.calibration for member in members})
    leader = max(layers, key=lambda name: _depth(layers[name]))
    gradients = min(gradient_sequences(parameters, member.calibration) for member in members)
    budgets = {name: memory_budget(parameters, each) / len(members) for name, each in layers.items()}
    with ExitStack() as stack:
        evaluators = {}
        held_out = {}
        weights = {}
        for member in members:
            tokens = member.calibration.tokens
            error = ModelDivergence(
                member.model,
                tokens[:gradients],
                tuple(parameters.divergences),
                measured=parameters.search_sequences,
            )
            held_out[member.name] = HeldOut(member.model, tokens[gradients:])
            weights[member.name] = stack.enter_context(
                MaskedWeights(layers[member.name], member.statistics, pattern, budgets[member.name])
            )
            evaluators[member.name] = CandidateEvaluator(
                layers[member.name], weights[member.name], {"": error}, Journal(member.journal), pattern
            )
        shared = SharedEvaluator(leader, layers, evaluators, pattern)
        run = SearchRun(shared, layers[leader], parameters, pattern, seed, gradients, on_generation, progress)
        run.all_stages()
        choice = choose(run.last_round(), pattern)
        wanda = make_candidate(layers[leader], pattern, {"all": WANDA})
        sentences = []
        for member in members:
            chosen, reference = (decode(each, layers[member.name], pattern) for each in (choice.trial.candidate, wanda))
            confirmed = held_out[member.name].compare(weights[member.name], chosen, reference)
            sentences += [] if confirmed is None else [f"{member.name}: {confirmed.sentence}"]
        facts = {
            **(origin or {}),
            "models": list(layers),
            "algorithm": parameters.algorithm,
            "trials": len(run.trials),
            "seed": seed,
            "search_sequences": parameters.search_sequences,
        }
        cached = sum(each.rank_cache_bytes for each in weights.values())
        choice = replace(choice, reason=" ".join([choice.reason, *sentences]))
        return search_result(run.trials, choice, pattern, facts, cached)


def check_shared(parameters: SearchParameters) -> None:
    """Refuse what a search over several models does not do.

    Raises:
        InputError: naming the parameter.
    """
    if parameters.sparsity_budget != "exact":
        raise InputError("A search over several models needs sparsity_budget exact: each model has ratios of its own.")
    for name in ("search_calibrations", "reconstructed_finalists"):
        if getattr(parameters, name):
            raise InputError(f"A search over several models has no {name}; leave it out.")


class SharedEvaluator:
    """Measures candidates of one model, the leader, on several models."""

    def __init__(
        self,
        leader: str,
        layers: Mapping[str, list[PrunableLayer]],
        evaluators: Mapping[str, CandidateEvaluator],
        pattern: Pattern,
    ) -> None:
        """Bind what a measurement needs.

        Args:
            leader: whose layers the candidates are of.
            layers: each model's prunable layers, by its name.
            evaluators: each model's own, on one set of search tokens.
            pattern: the target.
        """
        self._leader = leader
        self._layers = layers
        self._evaluators = evaluators
        self._pattern = pattern

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """Each model's errors (``kl/NAME``), the largest ``sparsity_distance``, and ``seconds`` of all together."""
        measured: dict[str, float] = {}
        seconds = 0.0
        distance = 0.0
        for name, evaluator in self._evaluators.items():
            values = evaluator.measure(self._decode(candidate, name), sequences)
            seconds += values.pop("seconds")
            distance = max(distance, values.pop("sparsity_distance"))
            measured |= {f"{divergence}/{name}": value for divergence, value in values.items()}
        return {**measured, "seconds": seconds, "sparsity_distance": distance}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Relative cost of a higher ratio in each layer of the leader, summed over the models, and the seconds.

        A model's costs are divided by its present KL divergence and multiplied by its weights: the share by which its
        divergence would rise. They are read at the leader's relative depths, as its ratios would be.
        """
        leading = self._layers[self._leader]
        total = [0.0] * len(leading)
        seconds = 0.0
        for name, evaluator in self._evaluators.items():
            own = self._decode(candidate, name)
            costs, spent = evaluator.marginal_costs(own, first, count)
            seconds += spent
            layers = self._layers[name]
            weights = sum(layer.module.weight.numel() for layer in layers)
            scale = weights / max(evaluator.measure(own, count)["kl"], 1e-12)
            mapped = map_by_depth(costs, layers, leading)
            total = [sum_ + scale * cost for sum_, cost in zip(total, mapped, strict=True)]
        return total, seconds

    def _decode(self, candidate: Candidate, name: str) -> Candidate:
        return candidate if name == self._leader else decode(candidate, self._layers[name], self._pattern)


def decode(candidate: Candidate, layers: list[PrunableLayer], pattern: Pattern) -> Candidate:
    """The candidate that another model's candidate is on these layers, as its recipe would be applied."""
    recipe = candidate.recipe("shared", pattern)
    ratios = layer_ratios(recipe, layers) if recipe.sparsity_ratios else None
    return make_candidate(layers, pattern, candidate.metrics, ratios)


def map_by_depth(values: list[float], layers: list[PrunableLayer], onto: list[PrunableLayer]) -> list[float]:
    """One value per layer of a model, read for the layers of another: by path and relative depth.

    A layer whose path the first model does not have takes the mean over its paths at that depth.
    """
    depth = _depth(onto)
    curves = curves_by_path(layers, values)
    resampled = {path: resample(curve, depth) for path, curve in curves.items()}
    average = [sum(curve[index] for curve in resampled.values()) / len(resampled) for index in range(depth)]
    return [resampled.get(block_path(layer), average)[layer.decoder_layer] for layer in onto]


def _depth(layers: list[PrunableLayer]) -> int:
    return max(layer.decoder_layer for layer in layers) + 1
