"""Reconstruction errors over depth: of the hidden states after each block, and of each kind of linear layer alone."""

import pyarrow as pa
from matplotlib.figure import Figure

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.report.panels import (
    METHOD_TITLES,
    curves_by_kind,
    draw_curves,
    dress_row,
    key,
    number_depth,
    title_kinds,
)
from optishear.report.style import LIGHT, TEXT, Theme, dress, new_figure, statement


def layer_errors(diagnosis: Diagnosis, theme: Theme = LIGHT) -> Figure:
    """Above, what adds up from block to block; below, what each kind of linear layer adds on dense inputs.

    The dense model is the line at zero.

    Args:
        diagnosis: ``layer_errors`` and ``block_errors`` are read; without block errors the upper panel goes.
        theme: the inks.
    """
    kinds = curves_by_kind(diagnosis.layer_errors.to_pylist(), "relative_error")
    if not kinds:
        return statement("No layer's error was measured.", theme)
    has_blocks = diagnosis.block_errors.num_rows > 0
    figure = new_figure(4.6 if has_blocks else 2.4, theme)
    grid = figure.add_gridspec(2 if has_blocks else 1, len(kinds), height_ratios=[1.25, 1] if has_blocks else [1])
    if has_blocks:
        axes = dress(figure.add_subplot(grid[0, :]), theme, grid=("y",))
        draw_curves(axes, _block_curves(diagnosis.block_errors), theme, ticks=12)
        axes.set_ylim(bottom=0)
        axes.set_title(
            "after each decoder block, with all before it pruned", fontsize=TEXT, color=theme.ink, loc="left"
        )
        axes.set_ylabel("relative error")
    row = grid[-1, :].subgridspec(1, len(kinds)).subplots(sharey=True, squeeze=False)[0]
    dress_row(row, theme, "relative error")
    title_kinds(row, kinds, theme)
    for panel, curves in zip(row, kinds.values(), strict=True):
        draw_curves(panel, curves, theme)
    row[0].set_ylim(bottom=0)
    key(figure, row[0], theme)
    number_depth(figure, theme)
    return figure


def _block_curves(block_errors: pa.Table) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {method: [] for method in METHOD_TITLES}
    for row in block_errors.to_pylist():
        curves.setdefault(row["method"], []).append((row["decoder_layer"], row["relative_error"]))
    return {method: points for method, points in curves.items() if points}
