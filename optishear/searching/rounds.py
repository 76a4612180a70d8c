"""How a budget is shared between the stages and the rounds of a search."""

from dataclasses import dataclass

from optishear.parameters.search import SearchParameters

DEFAULT_TRIALS = 300
# How a search's budget is shared out. The metric has few distinct choices and the ratios have many; of these, the
# descent finds most of what there is to find.
SHARES = {
    ("metric",): {"metric": 1.0},
    ("sweep", "metric"): {"sweep": 0.6, "metric": 0.4},
    ("joint",): {"joint": 1.0},
    ("metric", "ratios"): {"metric": 0.4, "ratios": 0.6},
    ("sweep", "metric", "ratios"): {"sweep": 0.25, "metric": 0.15, "ratios": 0.6},
    ("metric", "descent", "ratios"): {"metric": 0.2, "descent": 0.6, "ratios": 0.2},
    ("sweep", "metric", "descent", "ratios"): {"sweep": 0.2, "metric": 0.1, "descent": 0.6, "ratios": 0.1},
}
# A step of the descent costs one evaluation and one backward pass, which takes about three times as long.
TRIALS_PER_STEP = 4


@dataclass(frozen=True)
class Round:
    """One round of one stage.

    Attributes:
        stage: ``sweep``, ``metric``, ``descent``, ``ratios`` or ``joint``.
        index: from 0 over the whole search.
        sequences: how many search sequences each candidate is judged on.
        trials: how many candidates may be evaluated, or ``None``.
        seconds: how much measuring time may be spent, or ``None``.
    """

    stage: str
    index: int
    sequences: int
    trials: int | None
    seconds: float | None


def plan_stages(parameters: SearchParameters, has_ratios: bool) -> tuple[str, ...]:
    """What is searched, one after the other."""
    if has_ratios and parameters.order == "joint":
        return ("joint",)
    metric = ("metric",) if parameters.metric_scope == "model" else ("sweep", "metric")
    if not has_ratios:
        return metric
    return (*metric, "descent", "ratios") if parameters.descent_steps else (*metric, "ratios")


def plan_rounds(parameters: SearchParameters, stages: tuple[str, ...]) -> list[Round]:
    """Rounds of each stage: each judges on twice the sequences of the one before, for the same time.

    Few tokens for all candidates and many for the best, as EvoPress does (arXiv 2410.14649, section 3): a rough
    measurement is enough to drop a bad candidate. The descent is one round on all sequences, the sweep one on half; an
    exhaustive search is one on all, since a metric that was dropped early would not have been compared.

    Args:
        parameters: the budget and the number of rounds; ``DEFAULT_TRIALS`` where neither trials nor time is given,
            or no limit for ``exhaustive``, which ends by itself.
        stages: as ``plan_stages`` gives them.
    """
    sizes = sorted({max(1, parameters.search_sequences >> halvings) for halvings in range(parameters.rounds)})
    total_trials = parameters.trials
    total_seconds = parameters.budget.seconds if parameters.budget else None
    if total_trials is None and total_seconds is None and parameters.algorithm != "exhaustive":
        total_trials = DEFAULT_TRIALS
    rounds: list[Round] = []
    for stage, share in SHARES[stages].items():
        stage_sizes = {"descent": sizes[-1:], "sweep": sizes[-2:][:1]}.get(stage, sizes)
        if stage == "metric" and parameters.algorithm == "exhaustive":
            stage_sizes = sizes[-1:]
        inverse = sum(1 / size for size in stage_sizes)
        for size in stage_sizes:
            trials = None if total_trials is None else max(1, round(total_trials * share / size / inverse))
            if stage == "descent":
                wished = parameters.descent_steps
                trials = wished if trials is None else min(wished, max(1, trials // TRIALS_PER_STEP))
            seconds = None if total_seconds is None else total_seconds * share / len(stage_sizes)
            rounds.append(Round(stage, len(rounds), size, trials, seconds))
    return rounds
