"""A model is held for the next stage that uses it, and for nothing else."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from flows.shared.titled_flow import titled_flow
from optishear.errors import InputError
from optishear.parameters.model import ModelParameters
from tasks.engine import model_cache
from tasks.engine.model_cache import release_model, shared_model, take_model
from tasks.engine.stage import Stage

held: list["weakref.ref[nn.Module]"] = []


@pytest.fixture(autouse=True)
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is loaded is noted, and nothing may be held when it is."""
    release_model()
    held.clear()

    def load_model(model: str, **_: object) -> nn.Module:
        assert all(each() is None for each in held)
        loaded = nn.Linear(2, 2)
        held.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr(model_cache, "load_model", load_model)
    yield
    release_model()


@pytest.fixture
def parameters(model: Path) -> ModelParameters:
    return ModelParameters(model=str(model))


def stage(name: str, write: Any, uses_model: bool = True) -> Stage[ModelParameters, []]:
    return Stage(name, 1, (), lambda _: {}, write, on_gpu=ModelParameters if uses_model else None)


def use(outputs: Path, parameters: ModelParameters) -> None:
    with shared_model(parameters):
        (outputs / "result").write_text("used")


def fail(outputs: Path, parameters: ModelParameters) -> None:
    loaded = take_model(parameters)
    raise InputError(f"The model {loaded} is bad.")


def test_the_next_stage_with_the_model_gets_it(parameters: ModelParameters, home: Path) -> None:
    stage("one", use).make(parameters)
    stage("other", use).make(parameters)
    assert len(held) == 1
    assert held[0]() is not None


def test_a_stage_without_a_model_holds_none(parameters: ModelParameters, home: Path) -> None:
    alive: list[bool] = []

    def report(outputs: Path, _: ModelParameters) -> None:
        alive.append(held[0]() is not None)
        (outputs / "report").write_text("")

    stage("one", use).make(parameters)
    stage("report", report, uses_model=False).make(parameters)
    assert alive == [False]


def test_another_model_is_loaded_when_the_former_is_gone(
    parameters: ModelParameters, home: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"other": 1}')
    (other / "model.safetensors").write_bytes(b"other weights")
    stage("one", use).make(parameters)
    stage("other", use).make(parameters.model_copy(update={"model": str(other), "dtype": "float32"}))
    assert [each() is None for each in held] == [True, False]


def test_a_stage_that_failed_holds_no_model_though_its_error_is_kept(parameters: ModelParameters, home: Path) -> None:
    with pytest.raises(InputError) as error:
        stage("one", fail).make(parameters)
    assert error.traceback
    assert held[0]() is None


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_flow_nothing_is_held(parameters: ModelParameters, home: Path, fails: bool) -> None:
    @titled_flow("using")
    def using(parameters: ModelParameters) -> None:
        stage("one", use).make(parameters)
        assert held[0]() is not None
        if fails:
            stage("failing", fail).make(parameters)

    using.fn(parameters)
    assert held[0]() is None
