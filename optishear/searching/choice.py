"""Which point of the Pareto front becomes the recipe, and why."""

import math
from dataclasses import dataclass

from optishear.pattern import Pattern
from optishear.searching.held_out import Confirmation
from optishear.searching.trials import Trial, pareto_front

# A recipe misses its target by at most this much; applying it closes the rest.
SPARSITY_TOLERANCE = 0.001


@dataclass(frozen=True)
class Choice:
    """The chosen trial, the front it was chosen from, and the reason in a sentence."""

    trial: Trial
    front: list[Trial]
    reason: str


def choose(trials: list[Trial], pattern: Pattern) -> Choice:
    """Choose among trials that were judged on the same tokens.

    The errors are compared as ratios to Wanda's, so that they have one scale. With one error the smallest is
    chosen; with several the one whose worst ratio is smallest: no calibration set is given up for another.
    Trials that miss the target sparsity are on the front but are not chosen.

    Args:
        trials: the last round's, with Wanda among them.
        pattern: the target.
    """
    feasible = on_target(trials, pattern)
    ratios = _worst_ratios(trials)
    chosen = _best(feasible, ratios)
    errors = [name for name in chosen.objectives if name != "sparsity_distance"]
    ratio = f"{ratios[chosen.number]:.3f} times Wanda's"
    measure = (
        f"smallest {errors[0]} of all, {ratio}"
        if len(errors) == 1
        else f"smallest worst ratio to Wanda over {', '.join(errors)}: {ratio} at most"
    )
    return Choice(
        trial=chosen,
        front=pareto_front(trials),
        reason=f"Trial {chosen.number}, of {len(feasible)} on target in the last round, has the {measure}.",
    )


def confirm(choice: Choice, confirmed: Confirmation, trials: list[Trial], pattern: Pattern) -> Choice:
    """Stay with a named metric where sequences that the search never saw do not say that Wanda is beaten.

    A search takes the best of hundreds on a few sequences, so that a small gain there may be chance. A named metric is
    what anybody would use without a search, and is not given up for chance.

    Args:
        choice: by the search's own sequences.
        confirmed: the chosen trial beside Wanda on others.
        trials: the last round's, with the named metrics among them.
        pattern: the target.
    """
    beaten = confirmed.gain > 0 and (not confirmed.within_noise or math.isinf(confirmed.gain))
    named = _best([trial for trial in on_target(trials, pattern) if trial.name], _worst_ratios(trials))
    if beaten or choice.trial.name:
        return choice
    front = choice.front if named in choice.front else [*choice.front, named]
    reason = f"{choice.reason} So the recipe stays with {named.name}, the best of the named metrics."
    return Choice(named, front, reason)


def _worst_ratios(trials: list[Trial]) -> dict[int, float]:
    """By a trial's number, the largest of its errors' ratios to Wanda's."""
    wanda = next(trial for trial in trials if trial.name == "wanda")
    errors = [name for name in wanda.objectives if name != "sparsity_distance"]
    return {
        trial.number: max(trial.objectives[name] / max(wanda.objectives[name], 1e-12) for name in errors)
        for trial in trials
    }


def _best(trials: list[Trial], ratios: dict[int, float]) -> Trial:
    return min(trials, key=lambda trial: (ratios[trial.number], trial.number))


def on_target(trials: list[Trial], pattern: Pattern) -> list[Trial]:
    """The trials that may be chosen: those that meet the target sparsity."""
    return [t for t in trials if abs(t.candidate.achieved_sparsity - pattern.fraction) <= SPARSITY_TOLERANCE]
