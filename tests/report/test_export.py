import re

from optishear.recipe import Recipe
from optishear.report.export import inline_svg, png, svg
from optishear.report.ratios import layer_ratios
from optishear.report.style import DARK, LIGHT


def test_png_is_a_png(recipe: Recipe) -> None:
    assert png(layer_ratios(recipe, DARK)).startswith(b"\x89PNG\r\n")


def test_equal_figures_give_equal_bytes(recipe: Recipe) -> None:
    assert svg(layer_ratios(recipe)) == svg(layer_ratios(recipe))
    assert png(layer_ratios(recipe)) == png(layer_ratios(recipe))


def test_text_stays_text(recipe: Recipe) -> None:
    assert ">target 50 %</text>" in svg(layer_ratios(recipe))


def test_inline_svg_has_variables_for_all_inks_and_nothing_from_outside(recipe: Recipe) -> None:
    text = inline_svg(layer_ratios(recipe), "ratios")
    assert text.startswith("<svg")
    assert f"var(--searched, {LIGHT.searched})" in text
    bare = re.sub(r"var\(--\w+, #\w{6}\)", "", text)
    assert not re.findall(r":\s*#[0-9a-f]{6}", bare)
    assert "http" not in text
    assert "<style" not in text


def test_inline_references_lead_to_ids_of_the_same_figure(recipe: Recipe) -> None:
    text = inline_svg(layer_ratios(recipe), "ratios")
    ids = set(re.findall(r'\sid="([^"]+)"', text))
    references = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references
    assert references <= ids
    assert all(name.startswith("ratios-") for name in ids)
