import pytest
from matplotlib.text import Text

from optishear.report.labels import Label, label_points, spread
from optishear.report.style import LIGHT, dress, new_figure


def test_spread_keeps_the_gap_and_moves_little() -> None:
    assert spread([0.0, 20.0], 10) == [0.0, 20.0]
    assert spread([5.0, 5.0], 10) == [0.0, 10.0]
    # The first two push each other apart and into the third, so all three share one group around their mean.
    assert spread([0.0, 2.0, 10.0], 10) == pytest.approx([-6.0, 4.0, 14.0])
    assert spread([], 10) == []


def test_labels_of_near_points_do_not_overlap() -> None:
    figure = new_figure(4, LIGHT)
    axes = dress(figure.add_subplot(), LIGHT)
    points = [(0.0, 0.0), (0.01, 0.0), (0.02, 0.005), (1.0, 1.0)]
    axes.scatter([x for x, _ in points], [y for _, y in points])
    label_points(axes, [Label(x, y, f"label {x}", LIGHT.ink) for x, y in points], points, LIGHT)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
    inside = axes.get_window_extent()
    assert all(inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1) for box in boxes)
