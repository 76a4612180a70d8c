"""Layer ratios: how much of each decoder layer, or of each linear layer, the recipe prunes."""

import math

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from optishear.recipes.recipe import Recipe
from optishear.report.formatting import percent
from optishear.report.style import LIGHT, SMALL, Theme, dress, new_figure, plain, statement


def layer_ratios(recipe: Recipe, theme: Theme = LIGHT) -> Figure:
    """The recipe's sparsity over depth: stems from the target, or a map where linear layers differ.

    Args:
        recipe: its ``sparsity_ratios`` or ``layer_patterns`` are read; without any, the figure says so.
        theme: the inks.
    """
    curves = recipe.layer_fractions
    if recipe.sparsity.is_structured and not curves:
        return statement(
            f"{recipe.sparsity} pattern: every layer is pruned to {percent(recipe.sparsity.fraction)}.", theme
        )
    if not curves:
        return statement(f"Every layer is pruned alike, to {percent(recipe.sparsity.fraction)}.", theme)
    if len(curves) == 1:
        return _stems(next(iter(curves.values())), recipe, theme)
    return _map(recipe, theme)


def _stems(ratios: list[float], recipe: Recipe, theme: Theme) -> Figure:
    figure = new_figure(3.0, theme)
    axes = dress(figure.add_subplot(), theme, grid=("y",))
    target = 100 * recipe.sparsity.fraction
    values = [100 * ratio for ratio in ratios]
    axes.vlines(range(len(values)), target, values, color=theme.searched, linewidth=1.6, alpha=0.55)
    axes.plot(values, color=theme.searched, marker="o", markersize=5, linewidth=0, label="sparsity")
    axes.axhline(target, color=theme.ink, linewidth=1.0, label="target")
    axes.annotate(
        f"target {target:g} %",
        (1, target),
        xycoords=axes.get_yaxis_transform(),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=theme.ink,
        fontsize=SMALL,
        annotation_clip=False,
    )
    reach = max(2.0, *(abs(value - target) for value in values)) * 1.25
    axes.set_ylim(target - reach, target + reach)
    axes.set_xlim(-0.8, len(values) - 0.2)
    axes.set_ylabel("pruned weights (%)")
    _number_layers(axes)
    return figure


def _map(recipe: Recipe, theme: Theme) -> Figure:
    curves = recipe.layer_fractions
    paths = list(curves)
    depth = max(len(ratios) for ratios in curves.values())
    target = recipe.sparsity.fraction
    deviations = [ratio - target for ratios in curves.values() for ratio in ratios]
    reach = max(map(abs, deviations)) or 1.0
    figure = new_figure(1.3 + 0.27 * len(paths), theme)
    axes = dress(figure.add_subplot(), theme, grid=())
    for row, path in enumerate(paths):
        for layer, ratio in enumerate(curves[path]):
            cell = Rectangle(
                (layer - 0.46, row - 0.44), 0.92, 0.88, color=_shade(ratio - target, reach, theme), linewidth=0
            )
            cell.set_gid(f"cell-{row}-{layer}")
            axes.add_patch(cell)
    axes.set_xlim(-0.6, depth - 0.4)
    axes.set_ylim(len(paths) - 0.4, -0.6)
    axes.set_yticks(range(len(paths)), [plain(path) for path in paths])
    for spine in axes.spines.values():
        spine.set_visible(False)
    _number_layers(axes)
    _key(axes, target, bool(recipe.layer_patterns), deviations, reach, theme)
    return figure


def _shade(deviation: float, reach: float, theme: Theme) -> tuple[float, float, float, float]:
    """Deeper with the distance from the target: one hue for pruned less, the other for pruned more.

    The depth is opacity over the paper, so the same drawing reads on light and on dark paper.
    """
    if math.isclose(deviation, 0, abs_tol=1e-9):
        return to_rgba(theme.dots, 0.22)
    hue = theme.searched if deviation < 0 else theme.reference
    return to_rgba(hue, 0.18 + 0.82 * abs(deviation) / reach)


def _key(axes: Axes, target: float, by_pattern: bool, deviations: list[float], reach: float, theme: Theme) -> None:
    """The meaning of the shades, above the map: every pattern, or the extremes and the target."""
    words = "the pattern" if by_pattern else "the target"
    # Patterns are few, ratios are many.
    shown = sorted({0.0, *deviations} if by_pattern else {min(*deviations, 0.0), 0.0, max(*deviations, 0.0)})
    axes.legend(
        handles=[
            Patch(
                color=_shade(deviation, reach, theme),
                linewidth=0,
                label=percent(target + deviation) + (" pruned" if deviation else f", {words}"),
            )
            for deviation in shown
        ],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(shown),
        frameon=False,
        fontsize=SMALL,
        labelcolor=theme.ink,
        handlelength=1.2,
        borderaxespad=0.2,
    )


def _number_layers(axes: Axes) -> None:
    axes.set_xlabel("decoder layer, from the first (0) to the last")
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
