"""Seconds of a search, from the plan of its rounds and the measured times of a trial's parts."""

from optishear.metrics.metric import NAMED
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.searching.held_out import MAXIMUM_SEQUENCES
from optishear.searching.rounds import Round, plan_phases, plan_rounds
from optishear.timing.speed import Speed


def search_seconds(
    speed: Speed, parameters: SearchParameters, pattern: Pattern, sequences: int, sequence_length: int
) -> float:
    """Expected seconds of a search; at most so many, since a trial may be in the journal already.

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
    has_ratios = parameters.ratio_scope != "none" and not pattern.is_structured
    rounds = plan_rounds(parameters, plan_phases(parameters, has_ratios))
    descends = parameters.descent_steps and has_ratios
    # Sequences that the descent goes through, in batches of those that candidates are evaluated on.
    batches = 1
    if descends:
        batches = max(1, min(sequences * 3 // 4 // parameters.search_sequences, parameters.descent_steps))
    total = 0.0
    known = 0
    for plan in rounds:
        named = len(NAMED) * max(0, plan.sequences - known) * divergence
        known = max(known, plan.sequences)
        spent = _round_seconds(speed, plan, divergence, sequence_length, batches) + named
        total += spent if plan.seconds is None else min(spent, plan.seconds)
    measured_on = parameters.search_sequences
    gradient = batches * measured_on
    held_out = min(MAXIMUM_SEQUENCES, sequences - gradient)
    # The dense distributions, and the result beside Wanda's on held-out sequences.
    total += (gradient + (sets - 1) * measured_on + held_out) * dense + 2 * held_out * divergence
    return total


def _round_seconds(speed: Speed, plan: Round, divergence: float, sequence_length: int, batches: int) -> float:
    if plan.trials is None:
        return float("inf")
    assert speed.new_masks is not None
    kept = speed.kept_masks if speed.kept_masks is not None else speed.new_masks
    if plan.phase == "descent":
        assert speed.marginal_costs is not None
        costs = plan.sequences * speed.per_sequence(speed.marginal_costs, sequence_length)
        # On the first of the batches the pass for the costs gives the divergence too.
        evaluated = plan.trials - -(-plan.trials // batches) + 1
        return plan.trials * (costs + kept) + evaluated * plan.sequences * divergence
    masks = kept if plan.phase == "ratios" else speed.new_masks
    return plan.trials * (masks + plan.sequences * divergence)
