"""The checks of a command are made once, each for the groups that it states."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.modeling_utils import PreTrainedModel

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.pipeline import PipelineParameters
from flows.parameters.prune import PruneParameters
from flows.parameters.recipe import RecipeParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.parameters.transfer import TransferParameters
from flows.parameters.transplant import TransplantParameters
from flows.registry import FLOWS
from flows.shared import checks
from flows.shared.pruning_checks import check_memory_of_sparsegpt, check_recipe_of_model
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.read import read_parameters
from optishear.parameters.sparsity import SparsityParameters
from optishear.pattern import parse_pattern
from optishear.recipes.recipe import named_recipe
from tasks.engine.parameter_groups import belongs, groups_of
from tasks.registration.champion import check_limits
from tiny import tiny_model
from wording import refused


@pytest.fixture
def checked_sparsities(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sparsities of the parameters that were checked."""
    sparsities: list[str] = []

    def note(parameters: SparsityParameters) -> None:
        sparsities.append(str(parameters.sparsity))

    monkeypatch.setattr(checks, "CHECKS", (note,))
    return sparsities


def test_a_flow_of_the_command_line_is_not_checked_again(checked_sparsities: list[str]) -> None:
    parameters = read_parameters(PipelineParameters, {"sparsity": "0.5"})
    with checks.checked(parameters):
        checks.check(parameters)
        checks.check(parameters.model_copy(update={"sparsity": "0.6"}))
    assert checked_sparsities == ["0.5", "0.6"]
    checks.check(parameters)
    assert checked_sparsities == ["0.5", "0.6", "0.5"]


def test_a_sweep_checks_each_of_its_runs_once(checked_sparsities: list[str]) -> None:
    parameters = read_parameters(SweepParameters, {"sparsities": ["0.4", "2:4"]})
    with checks.checked(parameters):
        checks.check(parameters)
        for pipeline in pipelines_of(parameters).values():
            checks.check(pipeline)
    assert checked_sparsities == ["0.4", "2:4"]


@pytest.mark.parametrize("check", [*checks.CHECKS, *checks.MODEL_CHECKS], ids=lambda check: check.__name__)
def test_every_check_states_its_groups_and_some_flow_has_them(check: Callable[..., object]) -> None:
    groups = groups_of(check)
    assert groups
    assert all(issubclass(group, Parameters) for group in groups)
    assert any(issubclass(entry.parameters, groups[0]) for entry in FLOWS)
    assert any(all(issubclass(entry.parameters, group) for group in groups) for entry in FLOWS)


def test_a_check_of_two_groups_applies_to_parameters_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (check_limits,))
    with refused("champion_max_task_drop", "tasks"):
        checks.check(read_parameters(PipelineParameters, {"champion_max_task_drop": 1}))
    checks.check(read_parameters(PipelineParameters, {"champion_max_task_drop": 1, "suite": "paper"}))
    checks.check(read_parameters(SearchFlowParameters, {}))


def test_the_models_of_a_matrix_are_each_checked(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    sources: list[str] = []

    def note(model: PreTrainedModel, parameters: ModelParameters) -> None:
        assert all(weight.is_meta for weight in model.parameters())
        sources.append(parameters.model)

    monkeypatch.setattr(checks, "MODEL_CHECKS", (note,))
    values = {"model": str(model_folder), "other_models": [f"other={model_folder}"]}
    checks.check_model(read_parameters(CrossModelParameters, values))
    assert sources == [str(model_folder)] * 2


def test_sparsegpt_that_does_not_fit_is_refused_where_it_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.engine.memory.least_room", lambda *_: 1)
    values = {"model": "a-model", "dtype": "float32", "device": "cpu", "masks_only": True}
    check_memory_of_sparsegpt(tiny_model(), read_parameters(PipelineParameters, values))
    with refused("a-model", "compare_sparsegpt"):
        check_memory_of_sparsegpt(
            tiny_model(), read_parameters(PipelineParameters, {**values, "compare_sparsegpt": True})
        )


@pytest.mark.parametrize("group", [PruneParameters, TransferParameters, TransplantParameters])
def test_a_recipe_of_another_model_is_refused_by_each_flow_that_takes_one(
    group: type[RecipeParameters], tmp_path: Path
) -> None:
    recipe = named_recipe("wanda", parse_pattern("0.5")).model_copy(
        update={
            "ratio_scope": "linear",
            "sparsity_ratios": {"mlp.no_such_layer": [0.4, 0.6]},
            "origin": {"model_type": "llama"},
        }
    )
    recipe.save(tmp_path / "recipe.yaml")
    parameters = read_parameters(group, {"recipe": str(tmp_path / "recipe.yaml")})
    assert belongs(parameters, check_recipe_of_model)
    with refused("mlp.no_such_layer"):
        check_recipe_of_model(tiny_model(), parameters)
