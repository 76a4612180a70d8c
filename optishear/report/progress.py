"""Search progress: every candidate's objective and the best so far, round by round."""

from itertools import groupby

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from optishear.report.formatting import number
from optishear.report.labels import Label, label_right
from optishear.report.objectives import Row, finite_rows, finite_values, objective_columns, objective_label
from optishear.report.style import LIGHT, SMALL, TEXT, Theme, dress, make_log, needs_log, new_figure, plain, statement

# Narrower than this share of the figure, a round's heading would not fit above it.
_SMALLEST_SHARE = 0.13
_REFERENCE = "reference"
# A published metric further above the highest candidate than this is named at the edge with its value.
_FAR = 1.5


def search_progress(trials: pa.Table, theme: Theme = LIGHT) -> Figure:
    """The first objective against the trial number, one band per stage and number of sequences.

    The best so far restarts whenever the number of sequences changes, since the values are not comparable. The
    published metrics are lines in the bands with the same number of sequences.

    Args:
        trials: the table of ``trials.parquet``.
        theme: the inks.
    """
    objective = next((name for name in objective_columns(trials) if finite_values(trials, name)), None)
    rows = finite_rows(trials, [objective]) if objective else []
    searched = [row for row in rows if row["stage"] != _REFERENCE]
    if objective is None or not searched:
        return statement("No search: no candidate was evaluated.", theme)
    named = [row for row in rows if row["stage"] == _REFERENCE and row["name"]]
    bands = _bands(searched)
    best = _best_so_far(searched, objective)

    figure = new_figure(4.0, theme)
    least = _SMALLEST_SHARE * len(searched)
    # Bands must touch, which a computed layout does not promise where their tick labels are close.
    figure.set_layout_engine("none")
    panels = figure.subplots(
        1,
        len(bands),
        sharey=True,
        squeeze=False,
        width_ratios=[max(len(band), least) for band in bands],
        gridspec_kw={"left": 0.075, "right": 0.85, "bottom": 0.125, "top": 0.9, "wspace": 0},
    )[0]
    widest = max(map(len, bands))
    for index, (axes, band) in enumerate(zip(panels, bands, strict=True)):
        references = [row for row in named if row["sequences"] == band[0]["sequences"]]
        begins_stage = index == 0 or band[0]["stage"] != bands[index - 1][0]["stage"]
        _draw_band(axes, band, begins_stage, objective, best, references, theme)
        axes.set_facecolor(theme.paper if index % 2 else theme.band)
        axes.spines["left"].set_visible(index == 0)
        axes.set_xticks(_ticks(band[0]["trial"], band[-1]["trial"], 4 if len(band) > widest / 2 else 2))
        axes.tick_params(labelleft=index == 0)
    highest = _highest([row[objective] for row in searched], [row[objective] for row in named])
    shown = [row[objective] for row in rows if row[objective] <= highest]
    if needs_log(shown):
        make_log(panels[0], "y")
    lowest = min(shown)
    panels[0].set_ylim(*_padded(lowest, highest, panels[0].get_yscale() == "log"))
    panels[0].set_ylabel(plain(objective_label(objective)))
    figure.supxlabel("trial", x=0.4625, y=0.01, fontsize=TEXT, color=theme.muted)
    last = bands[-1]
    ends = [
        Label(0, row[objective], row["name"], theme.muted)
        if row[objective] <= highest
        else Label(0, highest, f"{row['name']}: {number(row[objective])} ↑", theme.muted)
        for row in named
        if row["sequences"] == last[0]["sequences"]
    ]
    ends.append(Label(0, best[id(last[-1])], "best so far", theme.searched, bold=True))
    label_right(panels[-1], ends, theme)
    return figure


def _highest(searched: list[float], named: list[float]) -> float:
    """The top of the axis: a published metric far above all candidates would press these into a line."""
    highest = max(searched)
    return max([highest, *(value for value in named if value <= _FAR * highest)])


def _padded(low: float, high: float, logarithmic: bool) -> tuple[float, float]:
    if logarithmic:
        share = (high / low) ** 0.05
        return low / share, high * share
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def _ticks(first: int, last: int, count: int) -> list[int]:
    """Round trial numbers, none so near a band's edge that it would run into the next band's."""
    edge = 0.12 * (last - first)
    values = MaxNLocator(count, integer=True).tick_values(first, last)
    return [int(value) for value in values if first + edge <= value <= last - edge] or [(first + last) // 2]


def _bands(rows: list[Row]) -> list[list[Row]]:
    def key(row: Row) -> tuple[str, int]:
        return row["stage"], row["sequences"]

    order = list(dict.fromkeys(map(key, rows)))
    return [list(group) for _, group in groupby(sorted(rows, key=lambda row: order.index(key(row))), key)]


def _best_so_far(rows: list[Row], objective: str) -> dict[int, float]:
    """The lowest value up to each row among the rows with as many sequences, by the row's identity."""
    lowest: dict[int, float] = {}
    best = {}
    for row in rows:
        lowest[row["sequences"]] = min(row[objective], lowest.get(row["sequences"], row[objective]))
        best[id(row)] = lowest[row["sequences"]]
    return best


def _draw_band(
    axes: Axes,
    band: list[Row],
    begins_stage: bool,
    objective: str,
    best: dict[int, float],
    references: list[Row],
    theme: Theme,
) -> None:
    dress(axes, theme, grid=("y",))
    numbers = [row["trial"] for row in band]
    axes.scatter(
        numbers, [row[objective] for row in band], s=11, color=theme.dots, linewidths=0, alpha=0.75, label="candidates"
    )
    axes.plot(
        [*numbers, numbers[-1] + 1],
        [*(best[id(row)] for row in band), best[id(band[-1])]],
        color=theme.searched,
        linewidth=1.8,
        drawstyle="steps-post",
        label="best so far",
        zorder=4,
    )
    for row in references:
        axes.axhline(
            row[objective], color=theme.reference, linewidth=1.1, linestyle=(0, (4, 2)), label=row["name"], zorder=3
        )
    axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 1)
    # Bands of one stage share its name, so that narrow bands do not write over one another.
    stage = band[0]["stage"] if begins_stage else ""
    axes.set_title(plain(f"{stage}\non {band[0]['sequences']}"), fontsize=SMALL, color=theme.muted)
