"""Heat maps of multiples of a reference: the value in every cell, blue where better, vermillion where worse."""

import math

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from optishear.evidence.matrix import Cell, Matrix, is_level
from optishear.report.style import LIGHT, SMALL, TEXT, Theme, dress, new_figure, plain

# The deepest shade still lets the text on it be read, on light and on dark paper.
DEEPEST = 0.55
# Factors from the reference at which a shade is deepest: further off looks no different.
REACH = 2.0
_LINE = 0.3


def heat_map(matrix: Matrix, title: str, across: str, theme: Theme = LIGHT) -> Figure:
    """One cell for each value; below 1 is better than the reference.

    The shade grows with the logarithm of the value. A cell that failed is left blank and says so; the best of each
    column is bold.

    Args:
        matrix: multiples of a reference, or any ratios.
        title: what the values are.
        across: what the columns are.
        theme: the inks.
    """
    figure = new_figure(1.25 + _LINE * max(1, len(matrix.rows)), theme)
    axes = dress(figure.add_subplot(), theme, grid=())
    shown = [abs(math.log(value)) for value in matrix.values.values() if math.isfinite(value) and value > 0]
    reach = min(max([*shown, math.log(1.1)]), math.log(REACH))
    best = {min(cells, key=cells.__getitem__) for cells in _finite_columns(matrix) if cells}
    for height, row in enumerate(matrix.rows):
        for place, column in enumerate(matrix.columns):
            _draw_cell(axes, matrix, (row, column), (place, height), reach, (row, column) in best, theme)
    axes.set_xlim(-0.5, len(matrix.columns) - 0.5)
    axes.set_ylim(len(matrix.rows) - 0.5, -0.5)
    axes.set_xticks(range(len(matrix.columns)), [plain(column) for column in matrix.columns])
    axes.set_yticks(range(len(matrix.rows)), [plain(row) for row in matrix.rows])
    axes.tick_params(labelcolor=theme.ink, labelsize=TEXT)
    axes.set_xlabel(plain(across))
    axes.set_title(plain(title) + "\n\n", loc="left", fontsize=TEXT, color=theme.muted)
    for spine in axes.spines.values():
        spine.set_visible(False)
    _key(axes, reach, theme)
    return figure


def _finite_columns(matrix: Matrix) -> list[dict[Cell, float]]:
    return [
        {cell: value for cell, value in matrix.values.items() if cell[1] == column and math.isfinite(value)}
        for column in matrix.columns
    ]


def _draw_cell(
    axes: Axes, matrix: Matrix, cell: Cell, place: tuple[int, int], reach: float, is_best: bool, theme: Theme
) -> None:
    value = matrix.values.get(cell)
    x, y = place
    rectangle = Rectangle((x - 0.48, y - 0.45), 0.96, 0.9, color=shade(value, reach, theme), linewidth=0)
    rectangle.set_gid(f"cell-{y}-{x}")
    axes.add_patch(rectangle)
    axes.text(
        x,
        y,
        plain(cell_words(value)),
        ha="center",
        va="center",
        fontsize=TEXT,
        color=theme.muted if value is None else theme.ink,
        fontweight="bold" if is_best else "normal",
    )


def cell_words(value: float | None) -> str:
    """A multiple as the cell shows it."""
    if value is None:
        return "failed"
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.3f}" if value < 9.9995 else f"{value:,.0f}"


def shade(value: float | None, reach: float, theme: Theme) -> tuple[float, float, float, float]:
    """The colour of a cell: its hue says better or worse, its opacity over the paper how much.

    Args:
        value: a multiple of the reference; nothing where it is missing.
        reach: logarithm of the factor at which the shade is deepest.
        theme: the inks.
    """
    if value is None or math.isnan(value):
        return to_rgba(theme.dots, 0.0)
    if is_level(value):
        return to_rgba(theme.dots, 0.22)
    distance = min(1.0, abs(math.log(value)) / reach) if 0 < value < math.inf else 1.0
    return to_rgba(theme.searched if value < 1 else theme.reference, 0.08 + (DEEPEST - 0.08) * distance)


def _key(axes: Axes, reach: float, theme: Theme) -> None:
    """What the shades mean, above the map."""
    furthest = math.exp(reach)
    axes.legend(
        handles=[
            Patch(color=shade(1 / furthest, reach, theme), linewidth=0, label=f"{1 / furthest:.2f} times: better"),
            Patch(color=shade(1.0, reach, theme), linewidth=0, label="level"),
            Patch(color=shade(furthest, reach, theme), linewidth=0, label=f"{furthest:.2f} times: worse"),
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor=theme.ink,
        handlelength=1.2,
        borderaxespad=0.2,
    )
