"""Who becomes the champion, and what is said of it."""

import math
from dataclasses import replace

import pytest

from flows.parameters.pipeline import PipelineParameters
from run_metrics.samples import changed, make_metrics
from tasks.registration.champion import Challenger, Champion, challenger_of, decide
from wording import numbers_in


def evaluated(
    perplexity: float = 24.0, dense: float = 20.0, drop: float | None = 1.0, settings: str = "text"
) -> Challenger:
    return Challenger(perplexity, dense, drop, settings)


def limits(increase: float | None = None, drop: float | None = None) -> PipelineParameters:
    return PipelineParameters(champion_max_perplexity_increase=increase, champion_max_task_drop=drop)


@pytest.mark.parametrize(
    ("challenger", "given", "champion", "promoted", "reason"),
    [
        (
            evaluated(),
            limits(),
            None,
            True,
            "Promoted: perplexity 24, 20 % over the dense model's 20; there was no champion.",
        ),
        (evaluated(19.0), limits(0), None, True, "5 % under the dense model's 20"),
        (evaluated(24.0), limits(20), None, True, "20 % over"),
        (
            evaluated(25.0),
            limits(20),
            None,
            False,
            "Not promoted: perplexity 25 is 25 % over the dense model's 20, and champion_max_perplexity_increase "
            "allows 20 %.",
        ),
        (evaluated(math.inf), limits(), None, False, "Not promoted: its perplexity is infinite."),
        (replace(evaluated(), as_evaluated=False), limits(), None, False, "not those that were evaluated"),
        (evaluated(math.nan), limits(), Champion("1", 30.0, "text"), False, "Not promoted: it has no perplexity."),
        (evaluated(24.0, math.nan), limits(20), None, False, "the dense model's perplexity is nan"),
        (evaluated(24.0, math.nan), limits(), None, False, "the dense model's perplexity is nan"),
        (evaluated(24.0, math.inf), limits(), None, False, "the dense model's perplexity is inf"),
        (evaluated(drop=2.0), limits(drop=2), None, True, "Promoted"),
        (evaluated(drop=-1.0), limits(drop=0), None, True, "Promoted"),
        (
            evaluated(drop=2.5),
            limits(drop=2),
            None,
            False,
            "Not promoted: the mean over the tasks is 2.5 points under the dense model's, and champion_max_task_drop "
            "allows 2.",
        ),
        (evaluated(drop=None), limits(drop=2), None, False, "no task was evaluated for both"),
        (
            evaluated(24.0),
            limits(),
            Champion("3", 24.5, "text"),
            True,
            "Promoted: perplexity 24, 20 % over the dense model's 20; version 3, the champion before, had 24.5.",
        ),
        (evaluated(24.5), limits(), Champion("3", 24.5, "text"), True, "Promoted"),
        (
            evaluated(24.6),
            limits(),
            Champion("3", 24.5, "text"),
            False,
            "Not promoted: perplexity 24.6 is above the 24.5 of the champion, version 3.",
        ),
        (evaluated(25.0), limits(20), Champion("3", 26.0, "text"), False, "allows 20 %"),
        (
            evaluated(24.0),
            limits(),
            Champion("3", 26.0, "another text"),
            False,
            "Not promoted: the champion, version 3, was evaluated on another text, other windows or another dense "
            "model, so the two do not compare; evaluate the champion's run in the same way, or remove its alias.",
        ),
    ],
)
def test_a_challenger(
    challenger: Challenger, given: PipelineParameters, champion: Champion | None, promoted: bool, reason: str
) -> None:
    decision = decide(challenger, given, champion)
    assert decision.promoted is promoted
    assert reason in decision.reason
    assert decision.reason.startswith("Promoted: " if promoted else "Not promoted: ")
    assert decision.reason.endswith(".")


def test_re_evaluating_the_champion_never_demotes_it() -> None:
    assert decide(evaluated(), limits(20), None, reigns=True).promoted
    beyond = decide(evaluated(), limits(10), None, reigns=True)
    assert beyond.promoted
    assert numbers_in(beyond.reason)[:2] == [24, 20]


def test_wording_of_a_champion_that_stays() -> None:
    assert decide(evaluated(), limits(20), None, reigns=True).reason == (
        "Still the champion: perplexity 24, 20 % over the dense model's 20."
    )
    beyond = decide(evaluated(), limits(10), None, reigns=True)
    assert beyond.reason.startswith("Still the champion, although perplexity 24 is 20 % over")


def test_the_drop_is_the_mean_over_the_tasks_main_metrics() -> None:
    def scores(**tasks: dict[str, float]) -> dict[str, object]:
        return {
            task: {metric: {"value": value, "stderr": None} for metric, value in metrics.items()}
            for task, metrics in tasks.items()
        }

    metrics = changed(
        make_metrics(dense=20.0, pruned=math.inf, tasks=False),
        {
            "dense.tasks": scores(arc={"acc": 0.60, "acc_norm": 0.9}, gsm={"exact_match/strict": 0.3}, lost={"acc": 1}),
            "pruned.tasks": scores(arc={"acc": 0.55, "acc_norm": 0.1}, gsm={"exact_match/strict": 0.28}),
        },
    )
    challenger = challenger_of(metrics, "text", as_evaluated=True)
    assert challenger.task_drop == pytest.approx((5 + 2) / 2)
    assert (challenger.perplexity, challenger.dense_perplexity) == (math.inf, 20.0)
    assert challenger.failed_tasks == ()
    failed = challenger_of(changed(metrics, {"pruned.tasks.lost": {"error": "no data"}}), "text", as_evaluated=True)
    assert failed.failed_tasks == ("lost",)
    decision = decide(replace(failed, perplexity=20.0), limits(drop=90), None)
    assert not decision.promoted
    assert "champion_max_task_drop" in decision.reason
    assert decision.reason.endswith(" lost.")


def test_a_challenger_without_perplexity_and_tasks() -> None:
    challenger = challenger_of(make_metrics(None, None, None, tasks=False), "text", as_evaluated=True)
    assert challenger.task_drop is None
    assert math.isnan(challenger.perplexity)
    assert math.isnan(challenger.dense_perplexity)
