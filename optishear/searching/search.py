"""The search: from the named metrics to a recipe."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.metrics.metric import WANDA
from optishear.models.layers import PrunableLayer, prunable_layers
from optishear.models.memory import free_memory
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.pruning.apply import check_pattern
from optishear.recipes.recipe import Recipe
from optishear.search_space.candidate import make_candidate
from optishear.searching.choice import Choice, choose, confirm
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.finalists import Finalists, fitting_sequences
from optishear.searching.held_out import Confirmation, HeldOut
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.run import Progress, SearchRun
from optishear.searching.trials import Trial, trials_table
from optishear.statistics.statistics import Statistics

logger = logging.getLogger("optishear.searching")


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        recipe: the chosen recipe.
        reason: why this one, and how sure it is, in sentences.
        confirmed: its divergence on sequences that the search never saw; ``None`` where none were left.
        front: all recipes of the Pareto front of the last round, the chosen one among them.
        trials: every evaluated candidate (columns in ``trials.trials_table``).
        rank_cache_bytes: what the ranks took that were kept for ratio-only trials.
    """

    recipe: Recipe
    reason: str
    confirmed: Confirmation | None
    front: list[Recipe]
    trials: pa.Table
    rank_cache_bytes: int


def run_search(
    model: PreTrainedModel,
    calibrations: dict[str, CalibrationSet],
    statistics: Statistics,
    parameters: SearchParameters,
    pattern: Pattern,
    seed: int = 0,
    journal: Path | None = None,
    origin: dict[str, object] | None = None,
    on_generation: Progress | None = None,
    progress: bool = True,
    batch_size: int = 4,
) -> SearchResult:
    """Search the best recipe for a model in memory; the model is dense again afterwards.

    Deterministic for a seed. A search that was killed and is started again with the same journal asks for the
    same candidates in the same order, takes from the journal what it had measured, and ends with the recipe of an
    undisturbed search: a time budget counts the seconds that the measurements took when they were made.

    Args:
        model: the dense model.
        calibrations: search tokens by name; the main set's name is the empty string.
        statistics: taken on the dense model.
        parameters: what is searched, and for how long.
        pattern: the target.
        seed: decides every random choice.
        journal: file of measurements, shared by all searches on this model and these calibrations.
        origin: where the recipe comes from, kept in it.
        on_generation: called with all trials so far after every generation.
        progress: show a progress bar.
        batch_size: sequences per forward pass.

    Raises:
        InputError: if the parameters contradict each other or do not fit the model.
    """
    layers = prunable_layers(model)
    check_pattern(pattern, layers)
    check_sequences(parameters, calibrations)
    main = calibrations[""].tokens
    fitted_on = main[fitting_sequences(parameters, len(main))]
    errors = {
        name: ModelDivergence(
            model,
            each.tokens[: gradient_sequences(parameters, each) if not name else parameters.search_sequences],
            tuple(parameters.divergences),
            batch_size,
            measured=parameters.search_sequences,
        )
        for name, each in calibrations.items()
    }
    budget = memory_budget(parameters, layers)
    seen = len(errors[""].tokens)
    if parameters.reconstructed_finalists:
        seen = max(seen, parameters.search_sequences + len(fitted_on))
    held_out = HeldOut(model, main[seen:], batch_size)
    measured = Journal(journal)
    with MaskedWeights(layers, statistics, pattern, budget) as weights:
        evaluator = CandidateEvaluator(layers, weights, errors, measured, pattern)
        run = SearchRun(evaluator, layers, parameters, pattern, seed, len(errors[""].tokens), on_generation, progress)
        run.all_stages()
        trials, choice = run.trials, choose(run.last_round(), pattern)
        if parameters.reconstructed_finalists:
            finalists = Finalists(model, weights, statistics, errors, fitted_on, measured, pattern)
            choice = finalists.choose(choice, run.last_round(), parameters.reconstructed_finalists)
            trials = [finalists.judged.get(trial.number, trial) for trial in trials]
        facts = {
            **(origin or {}),
            "algorithm": parameters.algorithm,
            "trials": len(run.trials),
            "seed": seed,
            "search_sequences": parameters.search_sequences,
        }
        logger.info("rank cache: %.0f of at most %.0f MiB", weights.rank_cache_bytes / 2**20, budget / 2**20)
        wanda = make_candidate(layers, pattern, {"all": WANDA})
        confirmed = held_out.compare(weights, choice.trial.candidate, wanda)
        if confirmed is not None:
            # Finalists are chosen for what reconstruction makes of them, several sets for more than the one held out.
            masks_decide = (
                not parameters.reconstructed_finalists and len(errors) == 1 and "kl" in parameters.divergences
            )
            choice = replace(choice, reason=f"{choice.reason} {confirmed.sentence}")
            if masks_decide:
                choice = confirm(choice, confirmed, run.last_round(), pattern)
        result = search_result(trials, choice, pattern, facts, weights.rank_cache_bytes)
        return replace(result, confirmed=confirmed)


def check_sequences(parameters: SearchParameters, calibrations: dict[str, CalibrationSet]) -> None:
    """Refuse to judge on more sequences than there are.

    Raises:
        InputError: naming the set that is too small.
    """
    for name, each in calibrations.items():
        if len(each.tokens) < parameters.search_sequences:
            raise InputError(
                f"search_sequences is {parameters.search_sequences}, but the calibration set {name or each.source!r} "
                f"has {len(each.tokens)} sequences; lower it or raise sequences."
            )


def gradient_sequences(parameters: SearchParameters, calibration: CalibrationSet) -> int:
    """How many sequences the descent goes through, whole batches of ``search_sequences``, in turn.

    A quarter of the calibration is left to judge the result on.
    """
    if not parameters.descent_steps or parameters.ratio_scope == "none":
        return parameters.search_sequences
    batches = min(len(calibration.tokens) * 3 // 4 // parameters.search_sequences, parameters.descent_steps)
    return max(batches, 1) * parameters.search_sequences


def memory_budget(parameters: SearchParameters, layers: list[PrunableLayer]) -> float:
    """Bytes for rank caches: the parameter, else a quarter of what is free on the weights' device."""
    if parameters.memory_budget is not None:
        return parameters.memory_budget * 2**30
    return free_memory(layers[0].module.weight.device) / 4


def search_result(
    trials: list[Trial],
    choice: Choice,
    pattern: Pattern,
    origin: dict[str, object],
    rank_cache_bytes: int,
) -> SearchResult:
    """What a search found, from its trials and the choice among them."""
    recipes = []
    for index, trial in enumerate(choice.front):
        name = trial.name or f"front-{index:02d}"
        recipe = trial.candidate.recipe(name, pattern)
        recipes.append(recipe.model_copy(update={"objectives": trial.measured, "origin": origin}))
    chosen = choice.trial.candidate.recipe("searched", pattern).model_copy(
        update={"objectives": choice.trial.measured, "origin": {**origin, "reason": choice.reason}}
    )
    table = trials_table(trials, choice.front, choice.trial)
    return SearchResult(chosen, choice.reason, None, recipes, table, rank_cache_bytes)
