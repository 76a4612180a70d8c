"""Perplexities as bars, one below the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from optishear.report.formatting import number
from optishear.report.style import TEXT, Theme, dress, make_log, needs_log

_BARS_VANISH = 30.0  # largest / smallest perplexity beyond which the smallest bar is a sliver


@dataclass(frozen=True)
class Bar:
    """One perplexity.

    Attributes:
        title: what it is of.
        value: ``None`` where it was not measured.
        colour: of the bar.
        bold: whether its number is set in bold.
        note: written after its number.
        label: of the drawn element.
    """

    title: str
    value: float | None
    colour: str
    bold: bool = False
    note: str = ""
    label: str = ""


def draw_perplexities(axes: Axes, bars: Sequence[Bar], theme: Theme) -> None:
    """Bars from zero, or dots on a logarithmic axis where bars would vanish.

    A value that is missing or not finite is written out instead of drawn.

    Args:
        axes: to draw on.
        bars: from top to bottom.
        theme: the inks.
    """
    dress(axes, theme, grid=())
    finite = {
        row: bar.value
        for row, bar in enumerate(bars)
        if bar.value is not None and math.isfinite(bar.value) and bar.value > 0
    }
    logarithmic = needs_log(finite.values(), _BARS_VANISH)
    for row, bar in enumerate(bars):
        value = finite.get(row)
        if value is not None and logarithmic:
            axes.plot(value, row, marker="o", markersize=8, color=bar.colour, label=bar.label)
        elif value is not None:
            axes.barh(row, value, height=0.62, color=bar.colour, label=bar.label)
        axes.annotate(
            # A page would draw several spaces as one.
            f"{number(bar.value)}, {bar.note}" if bar.note else number(bar.value),
            (value, row) if value is not None else (0, row),
            xycoords="data" if value is not None else axes.get_yaxis_transform(),
            xytext=(8 if logarithmic else 5, 0),
            textcoords="offset points",
            va="center",
            color=theme.ink if value is not None else theme.muted,
            fontsize=TEXT,
            fontweight="bold" if bar.bold else "normal",
        )
    axes.set_yticks(range(len(bars)), [bar.title for bar in bars])
    axes.tick_params(axis="y", labelsize=TEXT, labelcolor=theme.ink)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    if logarithmic:
        make_log(axes, "x")
        axes.grid(True, axis="x", color=theme.faint, linewidth=0.6)
        axes.margins(x=0.3 if any(bar.note for bar in bars) else 0.15)
    else:
        axes.set_xlim(0, max(finite.values(), default=1.0) * (1.3 if any(bar.note for bar in bars) else 1.14))
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
    axes.set_title("perplexity, lower is better", loc="left", fontsize=TEXT, color=theme.muted)
