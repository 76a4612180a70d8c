import re
from xml.etree import ElementTree

from optishear.recipes.recipe import Recipe
from optishear.report.export import inline_svg, png, svg, themed_svg
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


def test_a_themed_file_holds_both_themes_and_no_ink_outside_of_them(recipe: Recipe) -> None:
    text = themed_svg(layer_ratios(recipe))
    assert text.startswith("<?xml")
    assert f"--searched: {LIGHT.searched}" in text
    assert f"--searched: {DARK.searched}" in text.split("prefers-color-scheme: dark")[1]
    assert "var(--searched" in text
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg")
    assert float(root.attrib["width"].removesuffix("pt")) > 100
