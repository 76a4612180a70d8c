"""Seconds of a search, from the plan of its rounds and the measured times of a trial's parts."""

import math

from optishear.metrics.canonical import distinct_meta_metrics
from optishear.metrics.metric import NAMED
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.ratios.priors import LINEAR_REACHES
from optishear.search_space.space import has_ratios
from optishear.searching.finalists import fitting_sequences
from optishear.searching.held_out import MAXIMUM_SEQUENCES
from optishear.searching.rounds import Round, plan_phases, plan_rounds
from optishear.searching.search_memory import gradient_sequences
from optishear.timing.speed import Speed
from optishear.timing.stage_times import layer_solve_seconds


def search_seconds(
    speed: Speed, parameters: SearchParameters, pattern: Pattern, sequences: int, sequence_length: int
) -> float | None:
    """Expected seconds of a search; at most so many, since a trial may be in the journal already.

    ``None`` for an exhaustive search that goes on to the ratios without a limit: it ends when nothing new comes up.

    Args:
        speed: measured with the step ``search``.
        parameters: of the search; each further calibration set adds a divergence to a trial.
        pattern: the target.
        sequences: calibration sequences.
        sequence_length: tokens of each.
    """
    assert speed.divergence is not None
    assert speed.dense_divergence is not None
    sets = 1 + len(parameters.search_calibrations)
    divergence = sets * speed.per_sequence(speed.divergence, sequence_length)
    dense = speed.per_sequence(speed.dense_divergence, sequence_length)
    rounds = plan_rounds(parameters, plan_phases(parameters, has_ratios(parameters, pattern)))
    gradient = gradient_sequences(parameters, sequences)
    batches = gradient // parameters.search_sequences
    total = 0.0
    known = 0
    priors = (
        _prior_seconds(speed, parameters, divergence)
        if has_ratios(parameters, pattern) and not pattern.is_structured
        else 0.0
    )
    for plan in rounds:
        named = len(NAMED) * max(0, plan.sequences - known) * divergence
        known = max(known, plan.sequences)
        trials: float | None = plan.trials
        if parameters.algorithm == "exhaustive" and plan.phase == "metric":
            trials = min(trials or math.inf, len(distinct_meta_metrics()))
        spent = _round_seconds(speed, plan, trials, divergence, sequence_length, batches) + named
        if plan.phase in ("descent", "ratios", "joint"):
            spent, priors = spent + priors, 0.0
        total += spent if plan.seconds is None else min(spent, plan.seconds)
    measured_on = parameters.search_sequences
    held_out = min(MAXIMUM_SEQUENCES, sequences - gradient)
    # The dense distributions, and the result beside Wanda's on held-out sequences.
    total += (gradient + (sets - 1) * measured_on + held_out) * dense + 2 * held_out * divergence
    total += _finalist_seconds(speed, parameters, sequences, sequence_length, divergence)
    return total if math.isfinite(total) else None


def _finalist_seconds(
    speed: Speed, parameters: SearchParameters, sequences: int, sequence_length: int, divergence: float
) -> float:
    """What the reconstruction of the finalists takes, which no budget of the search bounds."""
    if not parameters.reconstructed_finalists:
        return 0.0
    fitting = fitting_sequences(parameters, sequences)
    solved = layer_solve_seconds(speed, speed.solve, fitting.stop - fitting.start, sequence_length)
    return parameters.reconstructed_finalists * (solved + parameters.search_sequences * divergence)


def _prior_seconds(speed: Speed, parameters: SearchParameters, divergence: float) -> float:
    """What the priors of the ratios take: their computation, masks and divergences."""
    count = sum(len(LINEAR_REACHES) if prior == "linear" else 1 for prior in set(parameters.ratio_priors))
    spectra = (speed.spectra or 0.0) if "alphapruning" in parameters.ratio_priors else 0.0
    return spectra + count * ((speed.kept_masks or 0.0) + parameters.search_sequences * divergence)


def _round_seconds(
    speed: Speed, plan: Round, trials: float | None, divergence: float, sequence_length: int, batches: int
) -> float:
    if trials is None:
        return math.inf
    assert speed.new_masks is not None
    kept_masks = speed.kept_masks if speed.kept_masks is not None else speed.new_masks
    if plan.phase == "descent":
        assert speed.marginal_costs is not None
        costs = plan.sequences * speed.per_sequence(speed.marginal_costs, sequence_length)
        # On the first of the batches the pass for the costs gives the divergence too.
        evaluated = trials - -(-trials // batches) + 1
        return trials * (costs + kept_masks) + evaluated * plan.sequences * divergence
    masks = kept_masks if plan.phase == "ratios" else speed.new_masks
    return trials * (masks + plan.sequences * divergence)
