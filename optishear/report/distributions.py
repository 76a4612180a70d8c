"""Distributions of weights and activation norms by kind of layer, before the metric transforms them and after."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from optishear.models.layers import KINDS
from optishear.report.panels import dress_row, key, title_kinds
from optishear.report.style import LIGHT, TEXT, Theme, new_figure, statement

_BEFORE, _AFTER = "wanda", "pruned"
# The share of values that may lie outside the axis at either end.
_TAIL = 0.002
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def distributions(table: pa.Table, theme: Theme = LIGHT) -> Figure:
    """Two rows of panels by kind of layer; in each, weights and activations, both to the same height.

    Args:
        table: that of ``distributions.parquet``; the method ``wanda`` is before, ``pruned`` after.
        theme: the inks.
    """
    rows = [row for row in table.to_pylist() if row["method"] in (_BEFORE, _AFTER)]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    if not kinds:
        return statement("No distribution was measured.", theme)
    figure = new_figure(3.6, theme)
    panels = figure.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
    for method, label, line in ((_BEFORE, "before\n(as Wanda)", panels[0]), (_AFTER, "after", panels[1])):
        dress_row(line, theme, label)
        for kind, axes in zip(kinds, line, strict=True):
            chosen = [row for row in rows if row["kind"] == kind and row["method"] == method]
            _fill(axes, chosen, "weights", theme.green, theme)
            _fill(axes, chosen, "activations", theme.purple, theme)
            axes.grid(False)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
    title_kinds(panels[0], kinds, theme)
    panels[0][0].set_xlim(*_range(rows))
    panels[0][0].set_ylim(0, 1.08)
    panels[0][0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[0][0].xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"10{f'{value:.0f}'.translate(_SUPERSCRIPTS)}")
    )
    figure.supxlabel("size of a weight, norm of an input channel", fontsize=TEXT, color=theme.muted)
    key(figure, panels[0][0], theme)
    return figure


def _fill(axes: Axes, rows: Iterable[dict[str, Any]], factor: str, colour: str, theme: Theme) -> None:
    counts = {row["log10_low"]: (row["log10_high"], row["count"]) for row in rows if row["factor"] == factor}
    if not counts:
        return
    lows = sorted(counts)
    highest = max(count for _, count in counts.values())
    edges: list[float] = []
    heights: list[float] = []
    for low in lows:
        high, count = counts[low]
        edges += [low, high]
        heights += [count / highest, count / highest]
    axes.fill_between(edges, heights, color=colour, alpha=0.28, linewidth=0)
    axes.plot(edges, heights, color=colour, linewidth=1.2, label=factor, linestyle="-" if factor == "weights" else "--")


def _range(rows: Iterable[dict[str, Any]]) -> tuple[float, float]:
    """Where all but a few of the values lie, over all panels; each panel's two factors count alike."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["method"], row["factor"]), []).append(row)
    lows, highs = [], []
    for group in groups.values():
        group.sort(key=lambda row: row["log10_low"])
        sums = list(accumulate(row["count"] for row in group))
        inside = [row for row, upto in zip(group, sums, strict=True) if upto / sums[-1] >= _TAIL]
        lows.append(inside[0]["log10_low"])
        highs.append(
            next(row["log10_high"] for row, upto in zip(group, sums, strict=True) if upto / sums[-1] >= 1 - _TAIL)
        )
    return min(lows) - 0.2, max(highs) + 0.2
