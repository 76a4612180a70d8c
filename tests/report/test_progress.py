import itertools

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.text import Text

from optishear.report.progress import search_progress
from optishear.report.style import LIGHT

from .samples import make_trials


def make_table(rows: list[tuple[int, str, int, float, str]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"trial": trial, "stage": stage, "sequences": sequences, "kl": kl, "name": name}
            for trial, stage, sequences, kl, name in rows
        ]
    )


def test_one_touching_shaded_band_per_stage_and_number_of_sequences(trials: pa.Table) -> None:
    panels = search_progress(trials).axes
    assert [axes.get_title() for axes in panels] == [
        "metric\non 1",
        "\non 2",
        "\non 4",
        "ratios\non 1",
        "\non 2",
        "\non 4",
        "final\non 4",
    ]
    shades = [tuple(axes.get_facecolor()) for axes in panels]
    assert all(left != right for left, right in itertools.pairwise(shades))
    for left, right in itertools.pairwise(panels):
        assert left.get_position().x1 == pytest.approx(right.get_position().x0)
        assert left.get_ylim() == right.get_ylim()


def test_best_so_far_restarts_with_other_sequences_and_goes_on_with_equal_ones() -> None:
    table = make_table(
        [
            (1, "metric", 1, 0.5, ""),
            (2, "metric", 1, 0.6, ""),
            (3, "metric", 2, 0.9, ""),
            (4, "metric", 2, 0.8, ""),
            (5, "final", 1, 0.7, ""),
            (6, "final", 1, 0.4, ""),
        ]
    )
    lines = [axes.lines[0] for axes in search_progress(table).axes]
    assert [list(line.get_ydata()) for line in lines] == [[0.5, 0.5, 0.5], [0.9, 0.8, 0.8], [0.5, 0.4, 0.4]]
    assert list(lines[1].get_xdata()) == [3, 4, 5]


def test_named_metrics_are_lines_only_where_they_compare(trials: pa.Table) -> None:
    for axes in search_progress(trials).axes:
        named = {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_label() != "best so far"}
        expected = {"magnitude": 3.41, "wanda": 0.862, "ria": 0.94} if "on 4" in axes.get_title() else {}
        assert named == expected


def test_lines_are_labelled_at_the_right_without_overlap(trials: pa.Table) -> None:
    figure = search_progress(trials)
    labels = figure.axes[-1].texts
    assert {text.get_text() for text in labels} == {"magnitude", "wanda", "ria", "best so far"}
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in labels]
    heights = sorted((box.y0 + box.y1) / 2 for box in boxes)
    assert min(np.diff(heights)) >= max(box.height for box in boxes) * 0.9
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_rounds_inside_every_generation_are_gathered_by_sequences() -> None:
    rows = [(index, "joint", 1 + index % 2, 1.0 + index, "") for index in range(8)]
    panels = search_progress(make_table(rows)).axes
    assert [axes.collections[0].get_offsets()[:, 0].tolist() for axes in panels] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_log_axis_where_the_range_asks_for_it() -> None:
    rows = [(1, "joint", 1, 1.0, ""), (2, "joint", 1, 50.0, ""), (3, "joint", 1, float("nan"), "")]
    (axes,) = search_progress(make_table(rows)).axes
    assert axes.get_yscale() == "log"
    assert axes.collections[0].get_offsets().shape == (2, 2)


@pytest.mark.parametrize(
    "table", [pa.table({}), make_trials().slice(0, 3), make_table([(1, "joint", 1, float("nan"), "")])]
)
def test_without_a_search_the_figure_says_so(table: pa.Table) -> None:
    figure = search_progress(table, LIGHT)
    assert not figure.axes
    assert "No search" in figure.texts[0].get_text()


def test_a_published_metric_far_above_is_named_at_the_edge() -> None:
    rows = [(0, "reference", 4, 9.0, "magnitude"), (1, "reference", 4, 0.6, "wanda")]
    rows += [(2 + index, "joint", 4, 0.5 - index / 100, "") for index in range(9)]
    figure = search_progress(make_table(rows))
    (axes,) = figure.axes
    assert axes.get_ylim()[1] < 0.7
    labels = axes.texts
    assert {text.get_text() for text in labels} == {"magnitude: 9.00 ↑", "wanda", "best so far"}
    figure.draw_without_rendering()
    assert all(Text.get_window_extent(text).x1 <= figure.bbox.x1 for text in labels)
