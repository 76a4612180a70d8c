import re
from typing import Any

import pytest
import yaml

from optishear.metrics.metric import RIA, MetaMetric, PowerMetric
from optishear.models.coverage import Coverage
from optishear.models.source import ModelSource
from optishear.pruning.card import model_card
from optishear.recipes.recipe import Recipe, named_recipe

HUB = ModelSource("someone/small", "someone/small", "hub:someone/small@abc", revision="abc")
LOCAL = ModelSource("/machine/folder/my-model", "/machine/folder/my-model", "ab12")
PACKAGE = ModelSource("package:llm_small", "/machine/home/models/ab12", "ab12")
LAYERS = {"model.layers.0.mlp.up_proj": 0.45, "model.layers.0.mlp.down_proj": 0.55}


def card(source: ModelSource = HUB, recipe: Recipe | None = None, **changes: Any) -> str:
    recipe = recipe or named_recipe("wanda", 0.5)
    numbers: dict[str, Any] = {
        "achieved_sparsity": 0.50012,
        "sparsity_of_all_matrices": 0.50012,
        "coverage": Coverage(96, 96, {}),
        "layers": LAYERS,
    }
    return model_card(source, recipe, **(numbers | changes))


def front_matter(text: str) -> dict[str, Any]:
    start, front, _ = text.split("---\n", 2)
    assert start == ""
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def test_the_front_matter_is_what_the_hub_reads() -> None:
    assert front_matter(card()) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruned", "sparse", "optishear"],
        "base_model": "someone/small",
    }


@pytest.mark.parametrize("source", [LOCAL, PACKAGE])
def test_only_a_hub_model_is_a_base_model(source: ModelSource) -> None:
    assert "base_model" not in front_matter(card(source))


@pytest.mark.parametrize(
    ("source", "title"),
    [(HUB, "# small, 50% sparse"), (LOCAL, "# my-model, 50% sparse"), (PACKAGE, "# llm_small, 50%")],
)
def test_names_the_model_and_no_folder_of_the_machine(source: ModelSource, title: str) -> None:
    assert title in card(source)
    assert "/machine" not in card(source)


def test_wording_of_what_was_pruned() -> None:
    text = card()

    assert "the 2 linear layers inside the decoder blocks" in text
    assert "unstructured, 50% as the target" in text
    assert "50.01% of these layers' weights, from 45.00% to 55.00% by layer" in text


def test_wording_of_the_title_that_counts_all_matrices_and_of_the_coverage() -> None:
    covered = Coverage(1000, 30, {"mlp.experts.gate_up_proj": 650, "mlp.experts.down_proj": 310, "mlp.gate": 10})

    text = card(coverage=covered, sparsity_of_all_matrices=0.015)

    assert "# small, 2% sparse" in text
    assert "with 1.50% of the weights in its decoder layers set to zero" in text
    assert (
        "- Coverage: 3.00% of the weights in the decoder blocks' matrices are prunable; left out: "
        "mlp.experts.gate_up_proj (65.00%), mlp.experts.down_proj (31.00%), mlp.gate (1.00%). 1.50% of all these "
        "weights are zero.\n"
    ) in text


def test_wording_of_an_n_m_pattern() -> None:
    text = card(recipe=named_recipe("wanda", "2:4"))

    assert "2:4: of every 4 consecutive inputs of a row, 2 are kept" in text
    assert "2:4 sparse kernels" in text


def test_wording_of_the_size() -> None:
    text = " ".join(card().split())

    assert "the files are as large as the dense model's" in text
    assert "2:4 sparse kernels" not in text


def test_wording_of_which_weights_are_pruned() -> None:
    assert "(wanda); in each row, the weights of the lowest score went (|W| is" in card()
    moved = card(reconstruction="a solver", mask_rule="the masks moved")
    assert "(wanda); the masks moved (|W| is" in moved
    assert "in each row" not in moved


def test_names_a_published_metric() -> None:
    assert "`|W| · x` (wanda)" in card()
    assert "(ria)" in card(recipe=named_recipe("ria", 0.5))
    assert "C and R the sums" in card(recipe=named_recipe("ria", 0.5))
    assert "C and R the sums" not in card()


def test_tells_the_metric_of_each_kind() -> None:
    recipe = Recipe(
        name="by kind",
        sparsity="0.5",
        metrics={
            "attention_in": RIA,
            "attention_out": PowerMetric(activation_exponent=0.25),
            "mlp_in": MetaMetric(weight_operation="sqrt"),
            "mlp_out": MetaMetric(),
        },
    )

    text = card(recipe=recipe)

    assert "attention output: `|W| · x^0.25`" in text
    assert "MLP inputs (gate, up): `sqrt(|W|) · x`" in text
    assert "MLP output (down): `|W| · x` (wanda)" in text


def test_holds_the_recipe() -> None:
    recipe = named_recipe("ria", 0.6)
    block = card(recipe=recipe).split("```yaml\n")[1].split("```")[0]

    assert Recipe.model_validate(yaml.safe_load(block)) == recipe


def test_holds_the_scores_where_there_are_any() -> None:
    table = "| measure | dense | wanda | pruned |\n| --- | --- | --- | --- |\n| perplexity | 20 | 40 | 30 |"

    assert f"## Scores\n\n{table}\n\n" in card(comparison=table + "\n")
    assert "## Scores" not in card()


def test_the_code_to_load_it_is_python() -> None:
    block = card().split("```python\n")[1].split("```")[0]

    compile(block, "card", "exec")
    assert "AutoModelForCausalLM.from_pretrained(folder)" in block


def test_dense_layers_beside_a_pattern_are_named() -> None:
    recipe = named_recipe("wanda", "2:4").model_copy(update={"dense_share": 0.5})
    text = card(recipe=recipe, layers={"model.layers.0.mlp.up_proj": 0.5, "model.layers.1.mlp.up_proj": 0.0})
    (line,) = [line for line in text.splitlines() if line.startswith("- Dense layers")]
    assert "`model.layers.1.mlp.up_proj`" in line
    assert "`model.layers.0.mlp.up_proj`" not in line
    assert "Dense layers" not in card(recipe=named_recipe("wanda", "2:4"))


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "a`b``c", "[x](javascript:y)", "two\n# lines", "<img src=x onerror=y>"],
)
def test_a_name_is_text_and_nothing_else(name: str) -> None:
    local = ModelSource(f"/folder/{name}", f"/folder/{name}", "ab12")
    text = card(local, named_recipe("wanda", 0.5).model_copy(update={"include": [name]}))
    outside = re.sub(r"(`{3,})yaml.*?\1(?!`)", "", text, flags=re.S)
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", outside.replace("\\`", ""))
    assert "<script" not in outside
    assert "<img" not in outside
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(", outside)
    assert len(re.findall("^# ", outside, flags=re.M)) == 1


def test_layers_of_another_pattern_are_named_with_it() -> None:
    patterns = {"all": ["4:8", "6:8", "dense"]}
    recipe = named_recipe("wanda", "4:8").model_copy(update={"dense_share": 0.5, "layer_patterns": patterns})
    layers = {f"model.layers.{number}.mlp.up_proj": zeros for number, zeros in enumerate((0.5, 0.25, 0.0))}
    (line,) = [line for line in card(recipe=recipe, layers=layers).splitlines() if line.startswith("- Layers of the")]
    assert line == "- Layers of the pattern 6:8: `model.layers.1.mlp.up_proj`."
