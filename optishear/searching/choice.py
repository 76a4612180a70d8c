"""Which point of the Pareto front becomes the recipe, and why."""

from dataclasses import dataclass

from optishear.pattern import Pattern
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
    wanda = next(trial for trial in trials if trial.name == "wanda")
    errors = [name for name in wanda.objectives if name != "sparsity_distance"]

    def worst_ratio(trial: Trial) -> float:
        return max(trial.objectives[name] / max(wanda.objectives[name], 1e-12) for name in errors)

    feasible = on_target(trials, pattern)
    chosen = min(feasible, key=lambda trial: (worst_ratio(trial), trial.number))
    ratio = f"{worst_ratio(chosen):.3f} times Wanda's"
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


def on_target(trials: list[Trial], pattern: Pattern) -> list[Trial]:
    """The trials that may be chosen: those that meet the target sparsity."""
    return [t for t in trials if abs(t.candidate.achieved_sparsity - pattern.sparsity) <= SPARSITY_TOLERANCE]
