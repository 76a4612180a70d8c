"""Direct labels that do not lie on one another, in place of legends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, BboxBase

from optishear.report.style import SMALL, TEXT, Theme, plain

# Where a label may stand: offset from its point in points, and the side of the text that faces the point.
_PLACES: list[tuple[float, float, str, str]] = [
    (dx * distance, dy * distance, horizontal, vertical)
    for distance in (1, 2, 3.5)
    for dx, dy, horizontal, vertical in (
        (8, 0, "left", "center"),
        (-8, 0, "right", "center"),
        (0, 8, "center", "bottom"),
        (0, -8, "center", "top"),
        (6, 6, "left", "bottom"),
        (6, -6, "left", "top"),
        (-6, 6, "right", "bottom"),
        (-6, -6, "right", "top"),
    )
]


@dataclass(frozen=True)
class Label:
    """A text for the point (x, y), in data coordinates."""

    x: float
    y: float
    text: str
    colour: str
    bold: bool = False


def settle(figure: Figure) -> None:
    """Compute the layout once and keep it, so that places in pixels can be read."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def label_points(axes: Axes, labels: Sequence[Label], crowd: Sequence[tuple[float, float]], theme: Theme) -> None:
    """Write each label beside its point, where it lies on no other label or labelled point and on little else.

    Args:
        axes: drawn already, as their limits are kept.
        labels: in the order of importance.
        crowd: all the drawn points, to cover as few of as possible.
        theme: the inks.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    settle(figure)
    inside = axes.get_window_extent()
    dots = axes.transData.transform(crowd) if crowd else np.empty((0, 2))
    points = [tuple(axes.transData.transform((label.x, label.y))) for label in labels]
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    for index, (label, point) in enumerate(zip(labels, points, strict=True)):
        text = axes.annotate(
            plain(label.text),
            (label.x, label.y),
            xytext=(0, 0),
            textcoords="offset points",
            color=label.colour,
            fontsize=TEXT,
            fontweight="bold" if label.bold else "normal",
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4},
            zorder=6,
        )
        # The annotation's own extent would hold its line as well.
        size = Text.get_window_extent(text)
        others = [box for position, box in enumerate(taken) if position != index]
        boxes = [_box(point, place, size.width, size.height, figure.dpi / 72) for place in _PLACES]
        costs = [
            (not _holds(inside, box) or any(map(box.overlaps, others)), box.padded(2).count_contains(dots))
            for box in boxes
        ]
        best = costs.index(min(costs))
        dx, dy, horizontal, vertical = _PLACES[best]
        text.set(position=(dx, dy), ha=horizontal, va=vertical)
        if text.arrow_patch is not None and abs(dx) + abs(dy) <= 12:
            text.arrow_patch.set_visible(False)
        taken.append(boxes[best])


def _box(
    point: tuple[float, ...], place: tuple[float, float, str, str], width: float, height: float, scale: float
) -> Bbox:
    """The extent in pixels of a text at a place beside a point; ``scale`` is pixels per point."""
    dx, dy, horizontal, vertical = place
    left = point[0] + dx * scale - {"left": 0.0, "center": 0.5, "right": 1.0}[horizontal] * width
    bottom = point[1] + dy * scale - {"bottom": 0.0, "center": 0.5, "top": 1.0}[vertical] * height
    return Bbox.from_bounds(left, bottom, width, height)


def _holds(outer: BboxBase, inner: Bbox) -> bool:
    return outer.contains(inner.x0, inner.y0) and outer.contains(inner.x1, inner.y1)


def label_right(axes: Axes, labels: Sequence[Label], theme: Theme) -> None:
    """Write labels right of the axes at the height of their y (x is not used), pushed apart where they would touch."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    settle(figure)
    ordered = sorted(labels, key=lambda label: label.y)
    scale = 72 / figure.dpi
    wished = [float(axes.transData.transform((0, label.y))[1]) * scale for label in ordered]
    for label, at, placed in zip(ordered, wished, spread(wished, SMALL + 3.5), strict=True):
        axes.annotate(
            plain(label.text),
            (1, label.y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(10, placed - at),
            textcoords="offset points",
            ha="left",
            va="center",
            color=label.colour,
            fontsize=SMALL,
            fontweight="bold" if label.bold else "normal",
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions as little as needed so that neighbours are at least ``gap`` apart.

    Touching positions form a group that is centred on the mean of what its members wished.
    """
    groups: list[list[float]] = []
    for position in positions:
        groups.append([position])
        while len(groups) > 1 and _start(groups[-1], gap) < _start(groups[-2], gap) + gap * len(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    return [_start(group, gap) + gap * index for group in groups for index in range(len(group))]


def _start(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2
