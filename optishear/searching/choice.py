"""Choose the recipe from the Pareto front, and state the reason."""

import math
from dataclasses import dataclass

from optishear.errors import InputError
from optishear.search_space.space import Space
from optishear.searching.held_out import Confirmation
from optishear.searching.trials import Trial, pareto_front

# Largest distance of an unstructured recipe to its target; applying the recipe removes the rest.
SPARSITY_TOLERANCE = 0.001


@dataclass(frozen=True)
class Target:
    """The sparsity that a chosen trial must have, and by how much it may miss it."""

    sparsity: float
    tolerance: float


@dataclass(frozen=True)
class Choice:
    """The chosen trial, the front it was chosen from, and the reason in a sentence."""

    trial: Trial
    front: list[Trial]
    reason: str


def choose(trials: list[Trial], target: Target) -> Choice:
    """Choose among trials that were evaluated on the same tokens.

    Divergences are divided by Wanda's, so that they have one scale. With one divergence, the trial with the smallest
    value is chosen. With several, the trial whose worst ratio is smallest: a gain on one calibration set cannot hide a
    loss on another. Trials that miss the target sparsity can be on the front but are not chosen.

    Args:
        trials: trials of the last round, including Wanda.
        target: the sparsity that the chosen trial must have.

    Raises:
        InputError: if the rows of the layers have too few weights for the target sparsity.
    """
    feasible = meeting_target(trials, target)
    # A search for dense layers measures Wanda twice: without dense layers in its first phase, and at the target.
    if not any(trial.name == "wanda" for trial in feasible):
        achieved = _wanda(trials).candidate.achieved_sparsity
        raise InputError(
            f"No recipe has a sparsity of {target.sparsity:.4g}, since some rows of the model have too few weights: "
            f"Wanda's comes to {achieved:.4g}; give a sparsity that each row can have."
        )
    ratios = _worst_ratios(feasible)
    best = _best(feasible, ratios)
    divergences = divergence_names(best)
    ratio = f"{ratios[best.number]:.3f} times Wanda's"
    measure = (
        f"smallest {divergences[0]} of all, {ratio}"
        if len(divergences) == 1
        else f"smallest worst ratio to Wanda over {', '.join(divergences)}: at most {ratio}"
    )
    return Choice(
        trial=best,
        front=pareto_front(trials),
        reason=f"Trial {best.number}, of {len(feasible)} on target in the last round, has the {measure}.",
    )


def confirm(choice: Choice, confirmation: Confirmation, trials: list[Trial], target: Target) -> Choice:
    """Replace the choice by a named metric unless it beats Wanda on held-out sequences.

    A search selects the best of hundreds of trials on a few sequences, so a small gain may be chance. A named metric
    needs no search and is therefore preferred in case of doubt.

    Args:
        choice: made on the search sequences.
        confirmation: the chosen trial and Wanda on held-out sequences.
        trials: trials of the last round, including the named metrics.
        target: the sparsity that the chosen trial must have.
    """
    beats_wanda = confirmation.gain > 0 and (not confirmation.within_noise or math.isinf(confirmation.gain))
    feasible = meeting_target(trials, target)
    named = _best([trial for trial in feasible if trial.name], _worst_ratios(feasible))
    if beats_wanda or choice.trial.name:
        return choice
    front = choice.front if named in choice.front else [*choice.front, named]
    reason = f"{choice.reason} So the recipe stays with {named.name}, the best of the named metrics."
    return Choice(named, front, reason)


def _worst_ratios(trials: list[Trial]) -> dict[int, float]:
    """The largest ratio of a trial's divergences to Wanda's, by trial number."""
    wanda = _wanda(trials)
    return {
        trial.number: max(
            trial.objectives[name] / max(wanda.objectives[name], 1e-12) for name in divergence_names(wanda)
        )
        for trial in trials
    }


def _wanda(trials: list[Trial]) -> Trial:
    return next(trial for trial in trials if trial.name == "wanda")


def _best(trials: list[Trial], ratios: dict[int, float]) -> Trial:
    return min(trials, key=lambda trial: (ratios[trial.number], trial.number))


def divergence_names(trial: Trial) -> list[str]:
    """The objectives of a trial without those of its sparsity."""
    return [name for name in trial.objectives if name not in ("sparsity_distance", "dense_share")]


def meeting_target(trials: list[Trial], target: Target) -> list[Trial]:
    """The trials that meet the target sparsity and can be chosen."""
    return [t for t in trials if abs(t.candidate.achieved_sparsity - target.sparsity) <= target.tolerance]


def target_of(space: Space) -> Target:
    """The target of a search space; N:M patterns meet it up to rounding."""
    return Target(space.target_sparsity, 1e-12 if space.pattern.is_structured else SPARSITY_TOLERANCE)
