"""Small panels side by side, one for each kind of linear layer, with a line for each method over the depth."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from optishear.models.layers import KINDS
from optishear.report.style import TEXT, Theme, dress

KIND_TITLES = {
    "attention_in": "attention, reading",
    "attention_out": "attention, writing",
    "mlp_in": "MLP, reading",
    "mlp_out": "MLP, writing",
}
METHOD_TITLES = {"wanda": "Wanda", "masked": "searched mask alone", "pruned": "pruned"}
Curves = dict[str, list[tuple[int, float]]]


def method_style(method: str, theme: Theme) -> dict[str, Any]:
    """Colour and dashes of a method, the same in every figure; distinguishable without colour."""
    styles: dict[str, dict[str, Any]] = {
        "wanda": {"color": theme.reference, "linestyle": (0, (4, 1.6))},
        "masked": {"color": theme.green, "linestyle": (0, (1.2, 1.2))},
        "pruned": {"color": theme.searched, "linestyle": "-"},
    }
    return styles[method]


def curves_by_kind(rows: Iterable[Mapping[str, Any]], column: str) -> dict[str, Curves]:
    """The mean of a column over the linear layers of one kind in one decoder layer: by kind, method and depth."""
    values: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        values[row["kind"], row["method"], row["decoder_layer"]].append(row[column])
    curves: dict[str, Curves] = {}
    for (kind, method, layer), numbers in sorted(values.items(), key=lambda item: item[0][2]):
        curves.setdefault(kind, {}).setdefault(method, []).append((layer, sum(numbers) / len(numbers)))
    return {kind: curves[kind] for kind in KINDS if kind in curves}


def draw_curves(axes: Axes, curves: Curves, theme: Theme, ticks: int = 3) -> None:
    """A line per method; dashes lie on the solid line of the pruned model, so that equal values show both."""
    for method in [name for name in METHOD_TITLES if name in curves]:
        layers, values = zip(*curves[method], strict=True)
        axes.plot(
            layers,
            values,
            linewidth=1.6,
            label=METHOD_TITLES[method],
            zorder=3 if method == "pruned" else 4,
            **method_style(method, theme),
        )
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.margins(x=0.02)


def dress_row(panels: Sequence[Axes], theme: Theme, label: str) -> None:
    """Panels of one row: grid lines on y, one label, tick labels at the left only."""
    for index, axes in enumerate(panels):
        dress(axes, theme, grid=("y",))
        axes.tick_params(labelleft=index == 0)
    panels[0].set_ylabel(label)


def title_kinds(panels: Sequence[Axes], kinds: Iterable[str], theme: Theme) -> None:
    """Name the kind above each panel."""
    for axes, kind in zip(panels, kinds, strict=True):
        axes.set_title(KIND_TITLES[kind], fontsize=TEXT, color=theme.ink, loc="left")


def key(figure: Figure, axes: Axes, theme: Theme) -> None:
    """The meaning of the lines, once, above all panels at the left."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=len(labels),
        frameon=False,
        fontsize=TEXT,
        labelcolor=theme.ink,
        handlelength=2.2,
        borderaxespad=0,
    )


def number_depth(figure: Figure, theme: Theme) -> None:
    """One label for the depth below all panels."""
    figure.supxlabel("decoder layer, from the first (0) to the last", fontsize=TEXT, color=theme.muted)
