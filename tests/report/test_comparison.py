import math

import pytest
from matplotlib.figure import Figure

from optishear.report.comparison import comparison
from optishear.report.style import DARK, LIGHT, Theme
from run_metrics.samples import beside_sparsegpt, changed, make_metrics


def words(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_perplexities_are_bars_with_their_values(theme: Theme) -> None:
    figure = comparison(make_metrics(tasks=False), theme)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [22.88, 47.81, 44.1]
    assert words(figure) == ["22.9", "47.8", "44.1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dense", "Wanda", "pruned"]
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("value", "text"), [(None, "not measured"), (math.inf, "infinite"), (math.nan, "not a number")]
)
def test_a_perplexity_without_a_value_is_written_out(value: float | None, text: str) -> None:
    figure = comparison(make_metrics(wanda=value, tasks=False))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [22.88, 44.1]
    assert words(figure) == ["22.9", text, "44.1"]


def test_only_infinite_perplexities_still_draw() -> None:
    figure = comparison(make_metrics(math.inf, math.inf, math.nan, tasks=False))
    assert words(figure) == ["infinite", "infinite", "not a number"]


def test_bars_that_would_vanish_become_dots_on_a_log_axis() -> None:
    (axes,) = comparison(make_metrics(wanda=2843.0, tasks=False)).axes
    assert axes.get_xscale() == "log"
    assert not axes.patches
    assert {line.get_label(): line.get_xdata()[0] for line in axes.lines}["wanda"] == 2843.0


def test_task_scores_carry_their_standard_errors() -> None:
    axes = comparison(make_metrics()).axes[1]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "local_boolq acc",
        "local_arc_easy acc",
        "local_arc_easy acc_norm",
    ]
    bars = {container.get_label(): container for container in axes.containers}
    points, _, (errors,) = bars["pruned"]
    assert list(points.get_xdata()) == pytest.approx([0.577, 0.467, 0.447])
    widths = [segment[1][0] - segment[0][0] for segment in errors.get_segments()]
    assert widths == pytest.approx([0.022, 0.0204, 0.0])


def test_sparsegpt_and_the_time_of_each_are_drawn() -> None:
    figure = comparison(beside_sparsegpt(), DARK)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [22.88, 47.81, 40.4, 44.1]
    noted = [text.replace("\N{NO-BREAK SPACE}", " ") for text in words(figure)]
    assert noted == ["22.9", "47.8, made in 10.2 s", "40.4, made in 47.5 s", "44.1, made in 2 h 37 min"]
    assert [container.get_label() for container in figure.axes[1].containers] == [
        "dense",
        "wanda",
        "sparsegpt",
        "pruned",
    ]


def test_tasks_without_a_perplexity_stand_alone() -> None:
    (axes,) = comparison(make_metrics(None, None, None)).axes
    assert axes.get_title(loc="left").strip().startswith("task scores")


def test_scores_that_are_no_fractions_stay_out() -> None:
    scores = {"wikitext": {"word_perplexity": {"value": 33.0, "stderr": None}}}
    metrics = changed(make_metrics(tasks=False), {"dense.tasks": scores})
    assert len(comparison(metrics).axes) == 1


def test_nothing_evaluated_says_so() -> None:
    assert comparison(make_metrics(None, None, None, tasks=False)).texts[0].get_text() == "No model was evaluated."
