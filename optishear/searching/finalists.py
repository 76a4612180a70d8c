"""The last word of a search: its best candidates once more, each with the weights that stay made anew."""

import time
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibration_set import CalibrationSet
from optishear.divergence.model_divergence import ModelDivergence
from optishear.errors import InputError
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.reconstruction.reconstruct import reconstruct
from optishear.search_space.candidate import Candidate
from optishear.searching.choice import Choice, on_target
from optishear.searching.evaluator import objective_name
from optishear.searching.journal import Journal, measurement_key
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.trials import Trial
from optishear.statistics.statistics import Statistics

# One judge for all recipes, whatever reconstruction follows: without it they could not be compared across runs.
_SOLVER = read_parameters(ReconstructionParameters, {"reconstruction": "admm"})
_PREFIX = "reconstructed_"


def fitting_sequences(parameters: SearchParameters, sequences: int) -> slice:
    """Which of so many sequences the finalists' weights are fitted on: others than those that judge candidates.

    They end where the last quarter begins, which the search never sees.

    Raises:
        InputError: if none are left.
    """
    chosen = slice(parameters.search_sequences, sequences * 3 // 4)
    if parameters.reconstructed_finalists and chosen.stop <= chosen.start:
        raise InputError(
            f"reconstructed_finalists is {parameters.reconstructed_finalists}, but of {sequences} calibration "
            f"sequences {parameters.search_sequences} judge the candidates and a quarter is held back, so that none "
            "are left to fit on; raise sequences."
        )
    return chosen


class Finalists:
    """Judges candidates by what they are worth after reconstruction.

    Attributes:
        judged: the trials that were, by number, with ``reconstructed_`` values among what was measured.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        weights: MaskedWeights,
        statistics: Statistics,
        errors: Mapping[str, ModelDivergence],
        tokens: Tensor,
        journal: Journal,
        pattern: Pattern,
    ) -> None:
        """Bind what a measurement needs.

        Args:
            model: whose dense weights ``weights`` holds.
            weights: puts the dense weights back.
            statistics: taken on the dense model.
            errors: reconstruction error by the name of its calibration set.
            tokens: [sequences, length] that layers are fitted on.
            journal: what was measured before.
            pattern: the target.
        """
        self.judged: dict[int, Trial] = {}
        self._model = model
        self._weights = weights
        self._statistics = statistics
        self._errors = errors
        self._calibration = CalibrationSet(tokens, source="finalists")
        self._journal = journal
        self._pattern = pattern

    def choose(self, choice: Choice, trials: list[Trial], count: int) -> Choice:
        """The best of the ``count`` best trials after reconstruction.

        Args:
            choice: by the masks alone.
            trials: the last round's.
            count: how many are reconstructed.
        """
        names = [name for name in choice.trial.objectives if name != "sparsity_distance"]
        best = _next_to(choice.trial, on_target(trials, self._pattern), names)[:count]
        judged = [replace(trial, measured={**trial.measured, **self._measure(trial)}) for trial in best]
        self.judged = {trial.number: trial for trial in judged}
        scale = judged[0].measured

        def worst_ratio(trial: Trial) -> float:
            return max(trial.measured[_PREFIX + name] / max(scale[_PREFIX + name], 1e-12) for name in names)

        chosen = min(judged, key=lambda trial: (worst_ratio(trial), trial.number))
        values = ", ".join(f"{name} {chosen.measured[_PREFIX + name]:.4g}" for name in names)
        against = ", ".join(f"{scale[_PREFIX + name]:.4g}" for name in names)
        reason = (
            f"Of the {len(judged)} best in the last round, trial {chosen.number} is the best once the weights that "
            f"stay are made anew: {values}, against {against} of trial {judged[0].number}, which has the best masks."
        )
        return Choice(chosen, [self.judged.get(trial.number, trial) for trial in choice.front], reason)

    def _measure(self, trial: Trial) -> dict[str, float]:
        """The errors after reconstruction, named as the errors with a prefix."""
        candidate = trial.candidate
        key = self._key(candidate, trial.sequences)
        measured = self._journal.get(key)
        if measured is None:
            started = time.perf_counter()
            self._weights.restore()
            recipe = candidate.recipe("finalist", self._pattern)
            reconstruct(self._model, recipe, self._statistics, self._calibration, _SOLVER, layer_errors=False)
            measured = {
                _PREFIX + objective_name(divergence, name): [value]
                for name, error in self._errors.items()
                for divergence, value in error.measure(trial.sequences).items()
            }
            self._weights.restore()
            measured["seconds"] = [time.perf_counter() - started]
            self._journal.put(key, measured)
        return {name: values[0] for name, values in measured.items() if name != "seconds"}

    def _key(self, candidate: Candidate, sequences: int) -> str:
        fitted_on, solver = len(self._calibration.tokens), _SOLVER.model_dump_json()
        sets = [f"{name}:{','.join(error.divergences)}" for name, error in self._errors.items()]
        return measurement_key("finalist", str(self._pattern), candidate.key, sequences, fitted_on, solver, *sets)


def _next_to(chosen: Trial, trials: list[Trial], names: list[str]) -> list[Trial]:
    """The chosen trial first, then those next to it by their worst ratio to it; each strategy once."""

    def worst_ratio(trial: Trial) -> float:
        return max(trial.objectives[name] / max(chosen.objectives[name], 1e-12) for name in names)

    ordered = sorted(trials, key=lambda trial: (trial.number != chosen.number, worst_ratio(trial), trial.number))
    found: dict[str, Trial] = {}
    for trial in ordered:
        found.setdefault(trial.candidate.key, trial)
    return list(found.values())
