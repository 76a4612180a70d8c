import pytest
from matplotlib.colors import to_hex

from optishear.recipes.recipe import Recipe
from optishear.report.ratios import layer_ratios
from optishear.report.style import DARK, LIGHT, Theme
from wording import numbers_in

from .samples import LAYERS, PATHS, make_recipe


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_one_ratio_per_decoder_layer_is_a_stem_from_the_target(recipe: Recipe, theme: Theme) -> None:
    (axes,) = layer_ratios(recipe, theme).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["sparsity"].get_ydata()) == [100 * ratio for ratio in recipe.sparsity_ratios["all"]]
    assert set(lines["target"].get_ydata()) == {50.0}
    assert axes.texts[0].get_text() == "target 50 %"
    assert len(axes.collections[0].get_segments()) == LAYERS


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_one_ratio_per_linear_layer_is_a_map(theme: Theme) -> None:
    recipe = make_recipe(scope="linear")
    (axes,) = layer_ratios(recipe, theme).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(PATHS)
    cells = {cell.get_gid(): cell for cell in axes.patches}
    assert len(cells) == len(PATHS) * LAYERS
    deviations = {
        f"cell-{row}-{layer}": ratio - 0.5
        for row, path in enumerate(PATHS)
        for layer, ratio in enumerate(recipe.sparsity_ratios[path])
    }
    for gid, deviation in deviations.items():
        assert to_hex(cells[gid].get_facecolor()) == (theme.searched if deviation < 0 else theme.reference)
    ordered = sorted(deviations, key=lambda gid: abs(deviations[gid]))
    opacities = [cells[gid].get_facecolor()[3] for gid in ordered]
    assert opacities == sorted(opacities)
    assert opacities[-1] == 1


def test_the_map_explains_its_shades() -> None:
    ratios = {"a": [0.45, 0.5], "b": [0.5, 0.6]}
    recipe = make_recipe().model_copy(update={"sparsity_ratios": ratios})
    legend = layer_ratios(recipe).axes[0].get_legend()
    assert legend is not None
    words = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in legend.get_texts()]
    assert words == ["45 % pruned", "50 %, the target", "60 % pruned"]


def test_ratios_all_at_the_target_draw() -> None:
    alike = make_recipe().model_copy(update={"sparsity_ratios": {"a": [0.5, 0.5], "b": [0.5, 0.5]}})
    assert len(layer_ratios(alike).axes[0].patches) == 4
    single = make_recipe().model_copy(update={"sparsity_ratios": {"all": [0.5]}})
    assert len(layer_ratios(single).axes) == 1


@pytest.mark.parametrize(
    ("sparsity", "words"), [("0.5", "Every layer is pruned alike, to 50 %."), ("2:4", "2:4 pattern: every layer")]
)
def test_uniform_and_structured_recipes_say_so(sparsity: str, words: str) -> None:
    figure = layer_ratios(make_recipe(sparsity, scope="none"))
    assert not figure.axes
    assert words in figure.texts[0].get_text().replace("\N{NO-BREAK SPACE}", " ")


def test_dense_layers_beside_a_pattern_are_cells_of_their_own() -> None:
    patterns = {path: ["dense" if path == PATHS[-1] else "2:4"] * 4 for path in PATHS}
    recipe = make_recipe("2:4", scope="none").model_copy(update={"layer_patterns": patterns, "dense_share": 0.2})
    (axes,) = layer_ratios(recipe).axes
    assert len(axes.patches) == 4 * len(PATHS)
    legend = axes.get_legend()
    assert legend is not None
    assert [numbers_in(text.get_text()) for text in legend.get_texts()] == [[0], [50]]


def test_every_pattern_has_a_shade_in_the_key() -> None:
    patterns = {path: ["dense", "6:8", "4:8", "4:8"] for path in PATHS}
    recipe = make_recipe("4:8", scope="none").model_copy(update={"layer_patterns": patterns, "dense_share": 0.375})
    (axes,) = layer_ratios(recipe).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [numbers_in(text.get_text()) for text in legend.get_texts()] == [[0], [25], [50]]
