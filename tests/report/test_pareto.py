import numpy as np
import pyarrow as pa
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from optishear.report import captions
from optishear.report.objectives import comparable, finite_rows
from optishear.report.pareto import pareto_front
from optishear.report.style import DARK, LIGHT, Theme

from .samples import make_trials


def scattered(axes: Axes, label: str) -> np.ndarray:
    (found,) = [collection for collection in axes.collections if collection.get_label() == label]
    return np.asarray(found.get_offsets())


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_chosen_and_named_are_marked_and_labelled(trials: pa.Table, theme: Theme) -> None:
    figure = pareto_front(trials, theme)
    (axes,) = figure.axes
    (chosen,) = [row for row in trials.to_pylist() if row["chosen"]]
    assert scattered(axes, "chosen").tolist() == [[chosen["kl"], chosen["sparsity_distance"]]]
    assert scattered(axes, "wanda").tolist() == [[0.862, 0.0]]
    assert f"chosen: trial {chosen['trial']}" in texts(figure)
    assert all(name in texts(figure) for name in ("magnitude", "wanda", "ria"))


def test_only_candidates_evaluated_longest_are_drawn(trials: pa.Table) -> None:
    (axes,) = pareto_front(trials).axes
    rows = [row for row in finite_rows(comparable(trials), ["kl"]) if not row["name"]]
    assert len(rows) < trials.num_rows / 2
    assert sorted(scattered(axes, "candidates")[:, 0]) == pytest.approx(sorted(row["kl"] for row in rows))


def test_front_line_joins_the_front_in_order(trials: pa.Table) -> None:
    (axes,) = pareto_front(trials).axes
    (line,) = [line for line in axes.lines if line.get_label() == "front"]
    front = [row for row in comparable(trials).to_pylist() if row["on_front"]]
    assert len(front) > 2
    assert list(line.get_xdata()) == sorted(row["kl"] for row in front)
    assert list(line.get_ydata()) == sorted((row["sparsity_distance"] for row in front), reverse=True)
    assert line.get_linewidth() > 0


def test_a_front_of_three_objectives_is_no_line() -> None:
    (axes,) = pareto_front(make_trials(("kl", "kl/math", "sparsity_distance"))).axes
    (line,) = [line for line in axes.lines if line.get_label() == "front"]
    assert line.get_linewidth() == 0
    assert axes.get_ylabel().endswith("on math")


def test_log_axis_where_the_range_asks_for_it() -> None:
    def scale(largest: float) -> str:
        table = make_trials(("kl", "frobenius"))
        values = table["kl"].to_pylist()
        values[0] = largest
        index = table.schema.get_field_index("kl")
        (axes,) = pareto_front(table.set_column(index, "kl", pa.array(values))).axes
        return axes.get_xscale()

    assert scale(100.0) == "log"
    assert pareto_front(make_trials()).axes[0].get_yscale() == "linear"


def test_one_objective_is_drawn_from_best_to_worst() -> None:
    (axes,) = pareto_front(make_trials(("kl",))).axes
    points = scattered(axes, "candidates")
    order = np.argsort(points[:, 0])
    assert (np.diff(points[order, 1]) >= 0).all()
    assert axes.get_xlabel() == "candidates, from best to worst"


def test_a_constant_second_objective_counts_as_one_objective() -> None:
    table = make_trials(("kl",)).append_column("sparsity_distance", pa.array([0.0] * make_trials(("kl",)).num_rows))
    assert pareto_front(table).axes[0].get_xlabel() == "candidates, from best to worst"


def test_values_that_are_not_finite_are_counted_not_drawn() -> None:
    table = make_trials(("kl",))
    values = [
        float("inf") if stage == "final" else value
        for stage, value in zip(table["stage"].to_pylist(), table["kl"].to_pylist(), strict=True)
    ]
    missing = sum(
        not np.isfinite(value) for value in comparable(table.set_column(7, "x", pa.array(values)))["x"].to_pylist()
    )
    table = table.set_column(table.schema.get_field_index("kl"), "kl", pa.array(values))
    (axes,) = pareto_front(table).axes
    assert missing >= 6
    assert axes.get_title(loc="right") == f"{missing} more without a finite value"


def test_a_chosen_named_metric_is_labelled_once() -> None:
    table = make_trials(("kl",))
    chosen = [name == "wanda" for name in table["name"].to_pylist()]
    table = table.set_column(table.schema.get_field_index("chosen"), "chosen", pa.array(chosen))
    labels = [text.get_text() for text in pareto_front(table).axes[0].texts]
    assert "chosen: wanda" in labels
    assert "wanda" not in labels


@pytest.mark.parametrize("table", [pa.table({}), make_trials().slice(0, 0), make_trials().slice(0, 1)])
def test_without_candidates_the_figure_says_so(table: pa.Table) -> None:
    figure = pareto_front(table)
    assert not figure.axes
    assert "No candidates" in figure.texts[0].get_text()


def test_calibration_names_with_dollar_signs_are_drawn_as_they_stand() -> None:
    table = make_trials(("kl", "kl/math"))
    table = table.rename_columns([name.replace("math", "$x_{$") for name in table.column_names])
    pareto_front(table).savefig("/dev/null", format="svg")


def test_a_measure_beside_the_only_objective_makes_no_front() -> None:
    one = make_trials(("kl",))
    beside = [None if kl is None else 100 - kl for kl in one["kl"].to_pylist()]
    table = one.append_column("frobenius", pa.array(beside, pa.float64()))
    figure = pareto_front(table)
    (axes,) = figure.axes
    assert axes.get_ylabel().startswith("Frobenius")
    assert not [line for line in axes.lines if line.get_label() == "front"]
    assert "alone" in captions.pareto(table)
    assert "alone" not in captions.pareto(make_trials())
    assert "blue front are non-dominated" in captions.pareto(make_trials())
