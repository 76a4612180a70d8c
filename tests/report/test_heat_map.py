import math

import pytest
from matplotlib.colors import to_hex, to_rgb

from optishear.evidence.matrix import Matrix
from optishear.report.export import inline_svg
from optishear.report.heat_map import DEEPEST, heat_map, shade
from optishear.report.style import DARK, LIGHT, Theme

MATRIX = Matrix(
    ("a", "b"),
    ("x", "y", "z"),
    {("a", "x"): 0.8, ("b", "x"): 1.25, ("a", "y"): 1.001, ("b", "y"): 40.0, ("a", "z"): math.inf},
    {("b", "z"): "lost"},
)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_each_cell_says_its_value_and_is_coloured_by_it(theme: Theme) -> None:
    (axes,) = heat_map(MATRIX, "title", "across", theme).axes
    written = {(round(text.get_position()[0]), round(text.get_position()[1])): text for text in axes.texts}
    assert {place: text.get_text() for place, text in written.items()} == {
        (0, 0): "0.800", (0, 1): "1.250", (1, 0): "1.001", (1, 1): "40", (2, 0): "∞", (2, 1): "failed",
    }  # fmt: skip
    cells = {cell.get_gid(): cell.get_facecolor() for cell in axes.patches}
    assert to_hex(cells["cell-0-0"]) == theme.searched
    assert to_hex(cells["cell-1-0"]) == theme.reference
    assert to_hex(cells["cell-0-1"]) == theme.dots
    assert cells["cell-1-2"][3] == 0
    # As far on either side is as deep; the deepest is what is furthest off.
    assert cells["cell-0-0"][3] == pytest.approx(cells["cell-1-0"][3])
    assert cells["cell-1-1"][3] == cells["cell-0-2"][3] == DEEPEST
    assert {place for place, text in written.items() if text.get_fontweight() == "bold"} == {(0, 0), (1, 0)}


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("value", [1e-9, 0.9, 1.0, 1.1, 1e9])
def test_text_reads_on_every_shade(theme: Theme, value: float) -> None:
    *hue, opacity = shade(value, math.log(2), theme)
    seen = tuple(opacity * h + (1 - opacity) * p for h, p in zip(hue, to_rgb(theme.paper), strict=True))
    dark, light = sorted((luminance(seen), luminance(to_rgb(theme.ink))))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_names_are_no_formulas_and_the_page_recolours_the_map() -> None:
    named = Matrix(("$a$",), ("<b>",), {("$a$", "<b>"): 0.5}, {})
    text = inline_svg(heat_map(named, "t", "a"), "map")
    assert "$a$" in text
    assert "&lt;b&gt;" in text
    assert "var(--searched" in text


def test_a_matrix_without_values_draws() -> None:
    assert heat_map(Matrix(("a",), ("b",), {}, {("a", "b"): "lost"}), "t", "a").axes
