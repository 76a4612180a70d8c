"""Search a universal recipe: one recipe for several models, with the divergence of each as an objective.

A candidate of the deepest model is decoded for each other model as its recipe would be applied: metrics by path, kind
or ``all``, ratios by relative depth, and each model exactly at the target. The space, the algorithms and the choice
are those of a search on one model.
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
from optishear.models.in_memory import frozen
from optishear.models.layers import PrunableLayer, block_path
from optishear.models.select_layers import select_layers
from optishear.models.selection import ALL_LAYERS, Selection
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.pruning.apply import check_pattern
from optishear.recipes.layer_ratios import curves_by_path, layer_ratios, resample
from optishear.search_space.candidate import Candidate, make_candidate
from optishear.searching.choice import choose, target_of
from optishear.searching.evaluator import CandidateEvaluator, Evaluator
from optishear.searching.held_out import HeldOut
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.priors import make_priors, prior_values
from optishear.searching.run import Progress, SearchRun
from optishear.searching.search import SearchResult, check_sequences, search_result
from optishear.searching.search_memory import gradient_sequences, memory_of_loaded, search_work
from optishear.statistics.statistics import Statistics


@dataclass(frozen=True)
class Member:
    """One model of a universal search.

    Attributes:
        name: name of the model in the names of the objectives.
        model: the dense model.
        calibration: search tokens of its tokenizer.
        statistics: statistics of the dense model.
        journal: file of measurements; can be the journal of searches for this model alone on the same calibration.
    """

    name: str
    model: PreTrainedModel
    calibration: CalibrationSet
    statistics: Statistics
    journal: Path | None = None


def search_universal(
    members: list[Member],
    parameters: SearchParameters,
    pattern: Pattern,
    seed: int = 0,
    origin: dict[str, object] | None = None,
    on_generation: Progress | None = None,
    progress: bool = True,
    selection: Selection = ALL_LAYERS,
) -> SearchResult:
    """Search one recipe for several models in memory; their dense weights are restored afterwards.

    The chosen recipe has the smallest worst ratio to Wanda's divergence over the models. It has the layers and the
    depth of the deepest model (the first of several); on another model it is mapped like any recipe.

    Args:
        members: at least two models with distinct names.
        parameters: parameters of the search. The time budget is per model, since each candidate is evaluated on all
            models; trials are candidates, as in ``run_search``.
        pattern: the target.
        seed: seed of all random choices.
        origin: provenance to store in the recipe.
        on_generation: called with all trials so far after each generation.
        progress: show a progress bar.
        selection: which layers are pruned, of each model.

    Raises:
        InputError: if the parameters contradict each other or do not fit one of the models.
    """
    check_universal(parameters)
    if parameters.budget is not None:
        parameters = parameters.model_copy(update={"budget": parameters.budget.times(len(members))})
    layers = {member.name: select_layers(member.model, selection) for member in members}
    for member in members:
        check_pattern(pattern, layers[member.name])
    check_sequences(parameters, {member.name: member.calibration for member in members})
    leader = max(layers, key=lambda name: _depth(layers[name]))
    gradients = min(gradient_sequences(parameters, len(member.calibration.tokens)) for member in members)
    memories = {
        member.name: memory_of_loaded(
            member.model,
            parameters,
            search_work(parameters, len(member.calibration.tokens), member.calibration.tokens.shape[1], pattern),
            len(members),
        )
        for member in members
    }
    with ExitStack() as stack:
        leading = next(member for member in members if member.name == leader)
        priors = make_priors(parameters, layers[leader], leading.statistics, pattern, Journal(leading.journal))
        evaluators = {}
        held_out = {}
        weights = {}
        for member in members:
            tokens = member.calibration.tokens
            divergence = ModelDivergence(
                member.model,
                tokens[:gradients],
                tuple(parameters.divergences),
                measured=parameters.search_sequences,
            )
            held_out[member.name] = HeldOut(member.model, tokens[gradients:])
            stack.enter_context(frozen(member.model))
            weights[member.name] = stack.enter_context(
                MaskedWeights(
                    layers[member.name],
                    member.statistics,
                    pattern,
                    memories[member.name].rank_bytes,
                    memories[member.name].copy_on_host,
                )
            )
            evaluators[member.name] = CandidateEvaluator(
                layers[member.name], weights[member.name], {"": divergence}, Journal(member.journal), pattern
            )
        evaluator = UniversalEvaluator(leader, layers, evaluators, pattern)
        run = SearchRun(
            evaluator, layers[leader], parameters, pattern, seed, gradients, on_generation, progress, priors
        )
        run.run_phases()
        choice = choose(run.last_round(), target_of(run.space))
        wanda = make_candidate(layers[leader], pattern, {"all": WANDA})
        sentences = []
        for member in members:
            candidate = decode(choice.trial.candidate, layers[member.name], pattern)
            reference = decode(wanda, layers[member.name], pattern)
            confirmation = held_out[member.name].compare(weights[member.name], candidate, reference)
            sentences += [] if confirmation is None else [f"{member.name}: {confirmation.sentence}"]
        facts = {
            **(origin or {}),
            "model_type": ", ".join(dict.fromkeys(member.model.config.model_type for member in members)),
            "models": list(layers),
            "algorithm": parameters.algorithm,
            "trials": len(run.trials),
            "seed": seed,
            "search_sequences": parameters.search_sequences,
            **({"ratio_priors": prior_values(run.prior_trials)} if run.prior_trials else {}),
        }
        rank_cache_bytes = sum(masked.rank_cache_bytes for masked in weights.values())
        choice = replace(choice, reason=" ".join([choice.reason, *sentences]))
        return search_result(run.trials, choice, pattern, facts, rank_cache_bytes, selection)


def check_universal(parameters: SearchParameters) -> None:
    """Check that a search for several models supports the parameters.

    Raises:
        InputError: if it does not support one.
    """
    if parameters.sparsity_budget != "exact":
        raise InputError("A search for several models needs sparsity_budget exact: each model has its own ratios.")
    for name in ("search_calibrations", "reconstructed_finalists", "dense_share", "denser_patterns", "workers"):
        if getattr(parameters, name):
            raise InputError(f"A search for several models does not support {name}; remove it.")


class UniversalEvaluator(Evaluator):
    """Evaluates candidates of one model, the leader, on several models."""

    def __init__(
        self,
        leader: str,
        layers: Mapping[str, list[PrunableLayer]],
        evaluators: Mapping[str, CandidateEvaluator],
        pattern: Pattern,
    ) -> None:
        """Store the inputs of a measurement.

        Args:
            leader: name of the model for whose layers the candidates are made.
            layers: prunable layers by model name.
            evaluators: evaluators by model name, each on one set of search tokens.
            pattern: the target.
        """
        self._leader = leader
        self._layers = layers
        self._evaluators = evaluators
        self._pattern = pattern

    def measure(self, candidate: Candidate, sequences: int) -> dict[str, float]:
        """The divergences of each model (``kl/NAME``), the largest ``sparsity_distance``, and the total ``seconds``."""
        measurements: dict[str, float] = {}
        seconds = 0.0
        distance = 0.0
        for name, evaluator in self._evaluators.items():
            values = evaluator.measure(self._decode(candidate, name), sequences)
            seconds += values.pop("seconds")
            distance = max(distance, values.pop("sparsity_distance"))
            measurements |= {f"{divergence}/{name}": value for divergence, value in values.items()}
        return {**measurements, "seconds": seconds, "sparsity_distance": distance}

    def marginal_costs(self, candidate: Candidate, first: int, count: int) -> tuple[list[float], float]:
        """Relative cost of a higher ratio in each layer of the leader, summed over the models, and the seconds.

        The costs of a model are multiplied by its number of weights and divided by its current KL divergence, which
        gives a relative increase. They are interpolated at the leader's relative depths.
        """
        leading = self._layers[self._leader]
        total = [0.0] * len(leading)
        seconds = 0.0
        for name, evaluator in self._evaluators.items():
            decoded = self._decode(candidate, name)
            costs, spent = evaluator.marginal_costs(decoded, first, count)
            seconds += spent
            layers = self._layers[name]
            weights = sum(layer.module.weight.numel() for layer in layers)
            scale = weights / max(evaluator.measure(decoded, count)["kl"], 1e-12)
            mapped = map_by_depth(costs, layers, leading)
            total = [partial_sum + scale * cost for partial_sum, cost in zip(total, mapped, strict=True)]
        return total, seconds

    def _decode(self, candidate: Candidate, name: str) -> Candidate:
        return candidate if name == self._leader else decode(candidate, self._layers[name], self._pattern)


def decode(candidate: Candidate, layers: list[PrunableLayer], pattern: Pattern) -> Candidate:
    """Another model's candidate on these layers, as its recipe would be applied."""
    recipe = candidate.recipe("universal", pattern)
    ratios = layer_ratios(recipe, layers) if recipe.sparsity_ratios else None
    return make_candidate(layers, pattern, candidate.metrics, ratios)


def map_by_depth(values: list[float], layers: list[PrunableLayer], onto: list[PrunableLayer]) -> list[float]:
    """Map one value per layer of a model to the layers of another, by path and relative depth.

    A layer whose path the first model does not have gets the mean over its paths at that depth.
    """
    depth = _depth(onto)
    curves = curves_by_path(layers, values)
    resampled = {path: resample(curve, depth) for path, curve in curves.items()}
    average = [sum(curve[index] for curve in resampled.values()) / len(resampled) for index in range(depth)]
    return [resampled.get(block_path(layer), average)[layer.decoder_layer] for layer in onto]


def _depth(layers: list[PrunableLayer]) -> int:
    return max(layer.decoder_layer for layer in layers) + 1
