"""Perplexity against sparsity: the dense model, Wanda, SparseGPT, and the searched recipes."""

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from optishear.report.formatting import percent
from optishear.report.labels import Label, label_points
from optishear.report.style import LIGHT, TEXT, Theme, dress, make_log, needs_log, new_figure, statement
from optishear.report.sweep import SweepCell
from optishear.run_metrics.measures import perplexities
from optishear.run_metrics.schema import Model

_TITLES: dict[Model, str] = {"wanda": "Wanda", "sparsegpt": "SparseGPT", "pruned": "searched"}
_MARKERS: dict[Model, str] = {"wanda": "D", "sparsegpt": "s", "pruned": "o"}


def perplexity_by_sparsity(cells: Sequence[SweepCell], theme: Theme = LIGHT) -> Figure:
    """One line for each of Wanda, SparseGPT and the searched recipes over the fractions; N:M patterns are hollow.

    A perplexity that is missing or not finite is left out.

    Args:
        cells: one for each sparsity.
        theme: the inks.
    """
    measured_cells = [(cell, perplexities(cell.metrics)) for cell in cells if cell.metrics is not None]
    measured = [value for _, values in measured_cells for value in values.values() if value is not None]
    finite = [value for value in measured if math.isfinite(value)]
    if not finite:
        return statement("No perplexity was measured.", theme)
    figure = new_figure(4.2, theme)
    axes = dress(figure.add_subplot(), theme)
    labels: list[Label] = []
    crowd: list[tuple[float, float]] = []
    models: tuple[Model, ...] = ("pruned", "sparsegpt", "wanda")
    for model in (model for model in models if any(model in values for _, values in measured_cells)):
        points = [
            (cell, value)
            for cell, values in measured_cells
            if (value := values.get(model)) is not None and math.isfinite(value)
        ]
        labels += _draw_model(axes, model, points, theme)
        crowd += [(cell.sparsity.fraction, value) for cell, value in points]
        crowd += _along([(cell.sparsity.fraction, value) for cell, value in points if not cell.sparsity.is_structured])
    fractions = sorted({cell.sparsity.fraction for cell in cells})
    dense = next((value for _, values in measured_cells if (value := values["dense"]) is not None), math.nan)
    if math.isfinite(dense):
        axes.axhline(dense, color=theme.muted, linewidth=1.2, linestyle=(0, (4, 3)), label="dense", zorder=1)
        axes.annotate(
            "dense", (1, dense), xycoords=axes.get_yaxis_transform(), xytext=(-4, 4), textcoords="offset points",
            ha="right", va="bottom", color=theme.muted, fontsize=TEXT,
        )  # fmt: skip
    axes.margins(x=0.16, y=0.12)
    if needs_log(finite):
        make_log(axes, "y")
    axes.set_xticks(fractions)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.set_xlabel("weights pruned")
    axes.set_ylabel("perplexity, lower is better")
    label_points(axes, labels, crowd, theme)
    return figure


def _along(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points on a line, for labels to keep away from; straight in the logarithm, as most are drawn."""
    ordered = sorted(line)
    steps = [step / 20 for step in range(1, 20)]
    return [
        (x + (next_x - x) * step, y * (next_y / y) ** step)
        for (x, y), (next_x, next_y) in pairwise(ordered)
        for step in steps
    ]


def _draw_model(axes: Axes, model: Model, points: Sequence[tuple[SweepCell, float]], theme: Theme) -> list[Label]:
    """Draw one model's points, joined over the fractions; returns the labels of the line's end and of each pattern."""
    colour = {"pruned": theme.searched, "sparsegpt": theme.green}.get(model, theme.reference)
    title, marker, bold = _TITLES[model], _MARKERS[model], model == "pruned"
    line = sorted((cell.sparsity.fraction, value) for cell, value in points if not cell.sparsity.is_structured)
    labels = [Label(*line[-1], title, colour, bold)] if line else []
    axes.plot([x for x, _ in line], [y for _, y in line], color=colour, marker=marker, linewidth=1.8, label=title)
    for cell, value in points:
        if cell.sparsity.is_structured:
            axes.plot(cell.sparsity.fraction, value, color=colour, marker=marker, fillstyle="none", linewidth=0,
                      label=f"{title}, {cell.sparsity}")  # fmt: skip
            labels.append(Label(cell.sparsity.fraction, value, f"{title}, {cell.sparsity}", colour, bold))
    return labels
