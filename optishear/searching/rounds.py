"""Divide the budget of a search between its phases and their rounds."""

from dataclasses import dataclass

from optishear.parameters.search import SearchParameters

DEFAULT_TRIALS = 300
# Shares of the budget. The metric has few distinct choices and the ratios have many; the descent gives most of the
# gain in the ratios.
SHARES = {
    ("metric",): {"metric": 1.0},
    ("coordinates", "metric"): {"coordinates": 0.6, "metric": 0.4},
    ("joint",): {"joint": 1.0},
    ("metric", "ratios"): {"metric": 0.4, "ratios": 0.6},
    ("coordinates", "metric", "ratios"): {"coordinates": 0.25, "metric": 0.15, "ratios": 0.6},
    ("metric", "descent", "ratios"): {"metric": 0.2, "descent": 0.6, "ratios": 0.2},
    ("coordinates", "metric", "descent", "ratios"): {"coordinates": 0.2, "metric": 0.1, "descent": 0.6, "ratios": 0.1},
}
# A step of the descent takes one evaluation and one backward pass, which takes about three times as long.
TRIALS_PER_STEP = 4


@dataclass(frozen=True)
class Round:
    """One round of one phase.

    Attributes:
        phase: ``coordinates``, ``metric``, ``descent``, ``ratios`` or ``joint``.
        index: number of the round in the whole search, from 0.
        sequences: number of search sequences that evaluate each candidate.
        trials: limit of the number of candidates, or ``None``.
        seconds: limit of the measured time, or ``None``.
    """

    phase: str
    index: int
    sequences: int
    trials: int | None
    seconds: float | None


def plan_phases(parameters: SearchParameters, has_ratios: bool) -> tuple[str, ...]:
    """The phases of a search, in order."""
    if has_ratios and parameters.order == "joint":
        return ("joint",)
    metric_phases = ("metric",) if parameters.metric_scope == "model" else ("coordinates", "metric")
    if not has_ratios:
        return metric_phases
    return (*metric_phases, "descent", "ratios") if parameters.descent_steps else (*metric_phases, "ratios")


def plan_rounds(parameters: SearchParameters, phases: tuple[str, ...]) -> list[Round]:
    """The rounds of each phase: each evaluates on twice the sequences of the previous one, in the same time.

    As in EvoPress (arXiv 2410.14649, section 3), all candidates are evaluated on few tokens and the best on many: a
    rough measurement is enough to discard a bad candidate. The descent has one round on all sequences, and the
    coordinate search one on half of them. An exhaustive search has one round on all, so that it compares every metric.

    Args:
        parameters: the budget and the number of rounds. If neither trials nor time is given, the budget is
            ``DEFAULT_TRIALS``; ``exhaustive`` then has no limit, since it ends by itself.
        phases: the phases from ``plan_phases``.
    """
    sequences = parameters.search_sequences
    # Beyond so many halvings nothing is left to halve.
    rounds_at_most = min(parameters.rounds, sequences.bit_length())
    sizes = sorted({sequences >> halvings for halvings in range(rounds_at_most)})
    total_trials = parameters.trials
    total_seconds = parameters.budget.seconds if parameters.budget else None
    if total_trials is None and total_seconds is None and parameters.algorithm != "exhaustive":
        total_trials = DEFAULT_TRIALS
    rounds: list[Round] = []
    for phase, share in SHARES[phases].items():
        phase_sizes = {"descent": sizes[-1:], "coordinates": sizes[-2:][:1]}.get(phase, sizes)
        if phase == "metric" and parameters.algorithm == "exhaustive":
            phase_sizes = sizes[-1:]
        inverse = sum(1 / size for size in phase_sizes)
        for size in phase_sizes:
            trials = None if total_trials is None else max(1, round(total_trials * share / size / inverse))
            if phase == "descent":
                steps = parameters.descent_steps
                trials = steps if trials is None else min(steps, max(1, trials // TRIALS_PER_STEP))
            seconds = None if total_seconds is None else total_seconds * share / len(phase_sizes)
            rounds.append(Round(phase, len(rounds), size, trials, seconds))
    return rounds
