"""Evaluate the best candidates of a search again, each after reconstruction of its kept weights."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.models.selection import Selection
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.recipes.recipe import with_selection
from optishear.reconstruction.reconstruct import reconstruct
from optishear.search_space.candidate import Candidate
from optishear.searching.choice import Choice, Target, divergence_names, meeting_target
from optishear.searching.evaluator import objective_name
from optishear.searching.journal import Journal, measurement_key
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.trials import Trial
from optishear.statistics.statistics import Statistics

# One method for all recipes, independent of the later reconstruction, so that values compare across runs.
_SOLVER = read_parameters(ReconstructionParameters, {"reconstruction": "admm"})
_PREFIX = "reconstructed_"
# More sequences take longer and hardly change the order of the finalists' divergences.
FITTED_SEQUENCES = 8
DEFAULT_FINALISTS = 3
logger = logging.getLogger("optishear.searching")


def fitting_sequences(parameters: SearchParameters, sequences: int) -> slice:
    """The calibration sequences on which the finalists' weights are fitted.

    They follow the search sequences, are at most ``FITTED_SEQUENCES``, and end before the last quarter, which is held
    out.

    Raises:
        InputError: if none are left.
    """
    start = parameters.search_sequences
    fitting = slice(start, min(start + FITTED_SEQUENCES, sequences * 3 // 4))
    if parameters.reconstructed_finalists and fitting.stop <= fitting.start:
        raise InputError(
            f"reconstructed_finalists is {parameters.reconstructed_finalists}, but no sequences are left to fit "
            f"weights on: of {sequences} calibration sequences, {parameters.search_sequences} evaluate candidates and "
            "a quarter is held out; raise sequences."
        )
    return fitting


def check_finalists(search: SearchParameters, reconstruction: ReconstructionParameters) -> None:
    """Refuse reconstructed finalists where the run reconstructs nothing.

    Raises:
        InputError: names the parameter.
    """
    if search.reconstructed_finalists and not reconstruction.reconstructs:
        raise InputError(
            f"reconstructed_finalists is {search.reconstructed_finalists}, but nothing is reconstructed "
            "afterwards; set reconstruction, or leave it out."
        )


def finalist_count(search: SearchParameters, reconstruction: ReconstructionParameters, sequences: int) -> int:
    """The number of reconstructed finalists of a run, where it is not given: some if the run reconstructs.

    Masks that are best alone are not always best after reconstruction. Where the calibration has no sequences to fit
    weights on, the masks decide, and a warning says so.

    Args:
        search: parameters of the search.
        reconstruction: parameters of what follows the search.
        sequences: calibration sequences.
    """
    if search.reconstructed_finalists is not None:
        return search.reconstructed_finalists
    if not reconstruction.reconstructs:
        return 0
    fitting = fitting_sequences(search, sequences)
    if fitting.stop <= fitting.start:
        logger.warning(
            "The finalists are chosen by their masks: of %d calibration sequences, none are left to fit weights on.",
            sequences,
        )
        return 0
    return DEFAULT_FINALISTS


class Finalists:
    """Evaluates candidates after reconstruction.

    Attributes:
        evaluated: the reconstructed trials by number, with additional ``reconstructed_`` values in ``measured``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        weights: MaskedWeights,
        statistics: Statistics,
        divergences: Mapping[str, ModelDivergence],
        tokens: Tensor,
        journal: Journal,
        pattern: Pattern,
        selection: Selection,
    ) -> None:
        """Store the inputs of a measurement.

        Args:
            model: the model whose dense weights ``weights`` holds.
            weights: restores the dense weights.
            statistics: statistics of the dense model.
            divergences: divergence by the name of its calibration set.
            tokens: [sequences, length] on which layers are fitted.
            journal: earlier measurements.
            pattern: the target.
            selection: which layers are pruned.
        """
        self.evaluated: dict[int, Trial] = {}
        self._model = model
        self._weights = weights
        self._statistics = statistics
        self._divergences = divergences
        self._calibration = CalibrationSet(tokens, source="finalists")
        self._journal = journal
        self._pattern = pattern
        self._selection = selection

    def choose(self, choice: Choice, trials: list[Trial], count: int, target: Target) -> Choice:
        """Reconstruct the ``count`` best trials, and choose the best of them.

        Args:
            choice: made by the masks alone.
            trials: trials of the last round.
            count: number of trials to reconstruct.
            target: the sparsity that the chosen trial must have.
        """
        names = divergence_names(choice.trial)
        best = _best_distinct(choice.trial, meeting_target(trials, target), names)[:count]
        finalists = [replace(trial, measured={**trial.measured, **self._measure(trial)}) for trial in best]
        self.evaluated = {trial.number: trial for trial in finalists}
        scale = finalists[0].measured

        def worst_ratio(trial: Trial) -> float:
            return max(trial.measured[_PREFIX + name] / max(scale[_PREFIX + name], 1e-12) for name in names)

        winner = min(finalists, key=lambda trial: (worst_ratio(trial), trial.number))
        values = ", ".join(f"{name} {winner.measured[_PREFIX + name]:.4g}" for name in names)
        compared = ", ".join(f"{scale[_PREFIX + name]:.4g}" for name in names)
        reason = (
            f"Of the {len(finalists)} best trials of the last round, trial {winner.number} is the best after "
            f"reconstruction: {values}. Trial {finalists[0].number}, which is the best by its masks, has {compared}."
        )
        return Choice(winner, [self.evaluated.get(trial.number, trial) for trial in choice.front], reason)

    def _measure(self, trial: Trial) -> dict[str, float]:
        """The divergences after reconstruction; their names have the prefix ``reconstructed_``."""
        candidate = trial.candidate
        key = self._key(candidate, trial.sequences)
        measurement = self._journal.get(key)
        if measurement is None:
            started = time.perf_counter()
            self._weights.restore()
            recipe = with_selection(
                candidate.recipe("finalist", self._pattern), self._selection.include, self._selection.exclude
            )
            reconstruct(self._model, recipe, self._statistics, self._calibration, _SOLVER, layer_errors=False)
            measurement = {
                _PREFIX + objective_name(kind, name): [value]
                for name, divergence in self._divergences.items()
                for kind, value in divergence.measure(trial.sequences).items()
            }
            self._weights.restore()
            measurement["seconds"] = [time.perf_counter() - started]
            self._journal.put(key, measurement)
        return {name: values[0] for name, values in measurement.items() if name != "seconds"}

    def _key(self, candidate: Candidate, sequences: int) -> str:
        fitting, solver = len(self._calibration.tokens), _SOLVER.model_dump_json()
        sets = [f"{name}:{','.join(divergence.divergences)}" for name, divergence in self._divergences.items()]
        return measurement_key("finalist", str(self._pattern), candidate.key, sequences, fitting, solver, *sets)


def _best_distinct(first: Trial, trials: list[Trial], names: list[str]) -> list[Trial]:
    """The chosen trial, then the others by their worst ratio to it, without duplicate candidates."""

    def worst_ratio(trial: Trial) -> float:
        return max(trial.objectives[name] / max(first.objectives[name], 1e-12) for name in names)

    ordered = sorted(trials, key=lambda trial: (trial.number != first.number, worst_ratio(trial), trial.number))
    by_candidate: dict[str, Trial] = {}
    for trial in ordered:
        by_candidate.setdefault(trial.candidate.key, trial)
    return list(by_candidate.values())
