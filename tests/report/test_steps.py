"""The figure of the steps: one bar for each part that was measured."""

import pyarrow as pa
import pytest

from optishear.recipes.recipe import Recipe
from optishear.report.figures import run_figures
from optishear.report.steps import perplexity_steps, steps
from optishear.run_metrics.schema import RunMetrics
from run_metrics.samples import beside_sparsegpt


def measured(metrics: RunMetrics, masked: float | None, reconstructed: float | None) -> RunMetrics:
    """The metrics of a run with the steps before the pruned model."""
    values = {"masked": masked, "reconstructed": reconstructed}
    update = {
        name: metrics.pruned.model_copy(update={"perplexity": value})
        for name, value in values.items()
        if value is not None
    }
    return metrics.model_copy(update={"masked": None, "reconstructed": None, "recovery": None, **update})


def test_masks_alone_have_no_steps(metrics: RunMetrics, recipe: Recipe) -> None:
    alone = measured(metrics, None, None)
    assert perplexity_steps(alone) == {}
    assert "steps" not in [figure.name for figure in run_figures(alone, recipe, pa.table({}))]


def test_each_part_has_a_bar(metrics: RunMetrics, recipe: Recipe) -> None:
    changed = measured(metrics, 31.5, None)
    values = perplexity_steps(changed)
    assert list(values) == ["dense", "Wanda", "masks", "+ reconstruction"]
    assert values["masks"] == 31.5
    assert values["+ reconstruction"] == metrics.pruned.perplexity
    (figure,) = [figure for figure in run_figures(changed, recipe, pa.table({})) if figure.name == "steps"]
    (axes,) = figure.drawing.axes
    drawn = [patch.get_width() for patch in axes.patches] or [line.get_xdata()[0] for line in axes.lines]
    assert drawn == pytest.approx(list(values.values()))
    assert [label.get_text() for label in axes.get_yticklabels()] == list(values)


def test_each_part_says_what_it_changed() -> None:
    figure = steps({"dense": 20.0, "Wanda": 50.0, "masks": 40.0, "+ reconstruction": 30.0, "+ recovery": 27.0})
    noted = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in figure.axes[0].texts]
    assert noted == [
        "20.0",
        "50.0",
        "40.0, −20.0 % from Wanda",
        "30.0, −25.0 % from masks",
        "27.0, −10.0 % from reconstruction",
    ]


def test_a_part_that_was_not_measured_has_no_change() -> None:
    figure = steps({"dense": 20.0, "Wanda": None, "masks": 40.0, "+ reconstruction": 30.0})
    assert [text.get_text() for text in figure.axes[0].texts][1:3] == ["not measured", "40.0"]


def test_sparsegpt_is_beside_wanda() -> None:
    assert list(perplexity_steps(measured(beside_sparsegpt(), 31.5, None)))[:4] == [
        "dense",
        "Wanda",
        "SparseGPT",
        "masks",
    ]


def test_recovery_comes_last(metrics: RunMetrics) -> None:
    changed = measured(metrics, 31.5, 27.5).model_copy(update={"recovery": object()})
    assert list(perplexity_steps(changed).items())[2:] == [
        ("masks", 31.5),
        ("+ reconstruction", 27.5),
        ("+ recovery", metrics.pruned.perplexity),
    ]
