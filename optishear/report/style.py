"""How every figure looks: one light and one dark theme, few inks, colours from Okabe and Ito's palette."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

WIDTH = 8.0  # inches; the page scales it to its column
TEXT = 8.5  # points
SMALL = 7.5  # points

# Beyond this ratio of the largest to the smallest value, a linear axis squeezes the small ones together.
_LOG_RATIO = 4.0


@dataclass(frozen=True)
class Theme:
    """The inks of a figure, as lower-case hexadecimal colours, all different from one another.

    Attributes:
        paper: background.
        ink: text, and what must be seen first.
        muted: axis text, and the dense model.
        faint: grid and axis lines.
        band: shading behind every other round.
        dots: the crowd of candidates.
        searched: what the search found (Okabe-Ito blue; sky blue on dark).
        reference: Wanda and the other published metrics (Okabe-Ito vermillion; orange on dark).
        green: a further line, or weights beside activations (Okabe-Ito bluish green).
        purple: a further line, or activations beside weights (Okabe-Ito reddish purple).
        yellow: a further line (Okabe-Ito yellow; darkened on light).
    """

    paper: str
    ink: str
    muted: str
    faint: str
    band: str
    dots: str
    searched: str
    reference: str
    green: str
    purple: str
    yellow: str

    def inks(self) -> dict[str, str]:
        """Colour by the name of its role."""
        return asdict(self)

    def series(self) -> list[str]:
        """Colours for lines of equal rank, those that differ most first."""
        return [self.searched, self.reference, self.green, self.purple, self.ink, self.yellow, self.dots]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1f2328",
    muted="#59636e",
    faint="#d1d9e0",
    band="#f3f5f8",
    dots="#9aa4af",
    searched="#0072b2",
    reference="#d55e00",
    green="#009e73",
    purple="#c0629a",
    yellow="#a88f00",
)
DARK = Theme(
    paper="#0d1117",
    ink="#f0f6fc",
    muted="#9198a1",
    faint="#3d444d",
    band="#161c25",
    dots="#6e7681",
    searched="#56b4e9",
    reference="#e69f00",
    green="#2cc295",
    purple="#df94c2",
    yellow="#f0e442",
)


def new_figure(height: float, theme: Theme) -> Figure:
    """An empty figure of the common width; ``height`` in inches. It belongs to no global state."""
    return Figure(figsize=(WIDTH, height), layout="constrained", facecolor=theme.paper)


def dress(axes: Axes, theme: Theme, grid: Sequence[Literal["x", "y"]] = ("x", "y")) -> Axes:
    """Give axes the theme's inks; ``grid`` names the axes that have grid lines."""
    axes.set_facecolor(theme.paper)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    axes.tick_params(which="both", colors=theme.muted, labelcolor=theme.muted, labelsize=SMALL, length=0)
    for name in grid:
        axes.grid(True, axis=name, color=theme.faint, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=theme.muted, fontsize=TEXT)
        axis.get_offset_text().set(color=theme.muted, fontsize=SMALL)
    return axes


def statement(text: str, theme: Theme) -> Figure:
    """A low figure that only says something, where there is nothing to draw."""
    figure = new_figure(0.5, theme)
    figure.text(0.0, 0.5, plain(text), va="center", color=theme.ink, fontsize=TEXT + 1.0)
    return figure


def plain(text: str) -> str:
    """Text that matplotlib draws as it stands: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def needs_log(values: Iterable[float], ratio: float = _LOG_RATIO) -> bool:
    """Whether the range of the finite values asks for a logarithmic axis (largest / smallest) and allows it (> 0)."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= ratio


def make_log(axes: Axes, name: Literal["x", "y"]) -> None:
    """Turn an axis logarithmic, with a few ticks written as plain numbers; call it after drawing the data."""
    axes.set(**{f"{name}scale": "log"})
    axis = axes.xaxis if name == "x" else axes.yaxis
    low, high = axis.get_data_interval()
    wide = high > 15 * low
    ticks = (1.0, 2.0, 5.0) if wide else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=ticks, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
