"""Search a recipe for one model."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError
from optishear.metrics.metric import WANDA
from optishear.models.in_memory import check_in_memory, frozen
from optishear.models.recomputation import recomputed_activations
from optishear.models.select_layers import select_layers
from optishear.models.selection import ALL_LAYERS, Selection
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.pruning.apply import check_pattern
from optishear.recipes.recipe import Recipe
from optishear.search_space.space import pattern_fractions
from optishear.searching.choice import Choice, choose, confirm, target_of
from optishear.searching.dense_share import check_dense_layers, check_dense_share, share_in_words
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.finalists import Finalists, fitting_sequences
from optishear.searching.held_out import Confirmation, HeldOut
from optishear.searching.journal import Journal
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.priors import make_priors, prior_values
from optishear.searching.run import Progress, SearchRun
from optishear.searching.search_memory import gradient_sequences, memory_of_loaded, search_work
from optishear.searching.search_workers import SearchWorkers
from optishear.searching.trials import Trial, trials_table
from optishear.searching.worker_setup import Measuring
from optishear.statistics.statistics import Statistics
from optishear.units import format_bytes

logger = logging.getLogger("optishear.searching")


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        recipe: the chosen recipe.
        reason: the reason of the choice, and its comparison with Wanda on held-out sequences, in sentences.
        confirmation: that comparison in numbers; ``None`` if there were too few held-out sequences.
        front: the recipes of the Pareto front of the last round, including the chosen one.
        trials: all evaluated candidates (columns in ``trials.trials_table``).
        rank_cache_bytes: size of the cached ranks.
        earlier_seconds: of its measurements that were in the journal before, such as those of a killed search.
    """

    recipe: Recipe
    reason: str
    confirmation: Confirmation | None
    front: list[Recipe]
    trials: pa.Table
    rank_cache_bytes: int
    earlier_seconds: float = 0.0


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
    selection: Selection = ALL_LAYERS,
) -> SearchResult:
    """Search the best recipe for a model in memory; the dense weights are restored afterwards.

    Deterministic for a seed. A killed search that is restarted with the same journal evaluates the same candidates in
    the same order, reads their measurements from the journal, and ends with the recipe of an uninterrupted search. A
    time budget counts the recorded seconds of these measurements.

    Args:
        model: the dense model.
        calibrations: search tokens by name; the name of the main set is empty.
        statistics: statistics of the dense model.
        parameters: parameters of the search.
        pattern: the target.
        seed: seed of all random choices.
        journal: file of measurements, used by all searches on this model and these calibrations.
        origin: provenance to store in the recipe.
        on_generation: called with all trials so far after each generation.
        progress: show a progress bar.
        batch_size: sequences per forward pass.
        selection: which layers are pruned.

    Raises:
        InputError: if the parameters contradict each other or do not fit the model, weights are offloaded, or the
            memory is too small.
    """
    check_in_memory(model)
    layers = select_layers(model, selection)
    check_pattern(pattern, layers)
    check_dense_share(parameters, pattern)
    check_dense_layers(parameters, layers, pattern)
    check_sequences(parameters, calibrations)
    main = calibrations[""].tokens
    work = search_work(parameters, len(main), main.shape[1], pattern)
    workers = SearchWorkers(parameters.workers, model)
    memory = memory_of_loaded(model, parameters, work, workers=workers.on_own_device)
    batch_size = min(batch_size, memory.sequences_per_pass)
    fitting_tokens = main[fitting_sequences(parameters, len(main))]
    descent_sequences = gradient_sequences(parameters, len(main))
    measuring = Measuring(
        {
            name: calibration.tokens[: parameters.search_sequences if name else descent_sequences]
            for name, calibration in calibrations.items()
        },
        tuple(parameters.divergences),
        batch_size,
        parameters.search_sequences,
    )
    divergences = measuring.of(model)
    first_held_out = len(divergences[""].tokens)
    if parameters.reconstructed_finalists:
        first_held_out = max(first_held_out, parameters.search_sequences + len(fitting_tokens))
    held_out = HeldOut(model, main[first_held_out:], batch_size)
    measurements = Journal(journal)
    priors = make_priors(parameters, layers, statistics, pattern, measurements)
    with (
        workers.started(measuring, statistics, pattern, selection, memory) as population,
        frozen(model),
        recomputed_activations(model) if memory.recomputed else nullcontext(),
        MaskedWeights(layers, statistics, pattern, memory.rank_bytes, memory.copy_on_host) as weights,
    ):
        fractions = tuple(pattern_fractions(parameters, pattern)) if parameters.dense_share else ()
        evaluator = CandidateEvaluator(layers, weights, divergences, measurements, pattern, fractions, population)
        run = SearchRun(
            evaluator, layers, parameters, pattern, seed, descent_sequences, on_generation, progress, priors
        )
        run.run_phases()
        target = target_of(run.space)
        trials, choice = run.trials, choose(run.last_round(), target)
        if parameters.reconstructed_finalists:
            finalists = Finalists(
                model, weights, statistics, divergences, fitting_tokens, measurements, pattern, selection
            )
            choice = finalists.choose(choice, run.last_round(), parameters.reconstructed_finalists, target)
            trials = [finalists.evaluated.get(trial.number, trial) for trial in trials]
        facts = {
            **(origin or {}),
            "model_type": model.config.model_type,
            "algorithm": parameters.algorithm,
            "trials": len(run.trials),
            "seed": seed,
            "search_sequences": parameters.search_sequences,
            **({"ratio_priors": prior_values(run.prior_trials)} if run.prior_trials else {}),
        }
        cached, most = format_bytes(weights.rank_cache_bytes), format_bytes(memory.rank_bytes)
        logger.info("rank cache: %s of at most %s", cached, most)
        wanda = run.space.named({"all": WANDA})
        confirmation = held_out.compare(weights, choice.trial.candidate, wanda)
        if confirmation is not None:
            # The comparison is one of masks on one calibration set. It does not apply to reconstructed finalists, nor
            # to a choice over several sets.
            applies = (
                not parameters.reconstructed_finalists and len(divergences) == 1 and "kl" in parameters.divergences
            )
            choice = replace(choice, reason=f"{choice.reason} {confirmation.sentence}")
            if applies:
                choice = confirm(choice, confirmation, run.last_round(), target)
        if parameters.dense_share:
            words = share_in_words(parameters, choice.trial.candidate.dense_share)
            logger.info(words)
            choice = replace(choice, reason=f"{choice.reason} {words}")
        result = search_result(trials, choice, pattern, facts, weights.rank_cache_bytes, selection)
        return replace(result, confirmation=confirmation, earlier_seconds=measurements.earlier_seconds)


def check_sequences(parameters: SearchParameters, calibrations: dict[str, CalibrationSet]) -> None:
    """Check that each calibration set has enough sequences.

    Raises:
        InputError: if a set is too small.
    """
    for name, calibration in calibrations.items():
        if len(calibration.tokens) < parameters.search_sequences:
            raise InputError(
                f"search_sequences is {parameters.search_sequences}, but the calibration set "
                f"{name or calibration.source!r} has {len(calibration.tokens)} sequences; lower it or raise sequences."
            )


def search_result(
    trials: list[Trial],
    choice: Choice,
    pattern: Pattern,
    origin: dict[str, object],
    rank_cache_bytes: int,
    selection: Selection,
) -> SearchResult:
    """The result of a search, from its trials and the choice among them."""
    recipes = []
    patterns = {"include": list(selection.include), "exclude": list(selection.exclude)}
    for index, trial in enumerate(choice.front):
        name = trial.name or f"front-{index:02d}"
        recipe = trial.candidate.recipe(name, pattern)
        recipes.append(recipe.model_copy(update={**patterns, "objectives": trial.measured, "origin": origin}))
    recipe = choice.trial.candidate.recipe("searched", pattern).model_copy(
        update={
            **patterns,
            "objectives": choice.trial.measured,
            "origin": {**origin, "reason": choice.reason},
        }
    )
    table = trials_table(trials, choice.front, choice.trial)
    return SearchResult(recipe, choice.reason, None, recipes, table, rank_cache_bytes)
