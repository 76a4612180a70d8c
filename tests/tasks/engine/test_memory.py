"""A stage that does not fit is refused before a weight is read; one that is short of memory begins with less."""

from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need
from optishear.parameters.model import ModelParameters
from tasks.engine import memory
from tasks.engine.memory import check_stage_memory, plan_batch, plan_stage
from tasks.stages.parameters import SearchStageParameters
from tiny import tiny_model
from wording import refused


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """Free bytes of the device, to be set."""
    room: dict[str, int | None] = {"bytes": 10**9}
    monkeypatch.setattr(memory, "least_room", lambda _: room["bytes"])
    return room


@pytest.fixture
def parameters(tmp_path: Path) -> ModelParameters:
    write_tiny_checkpoint("llama", tmp_path / "llama")
    return ModelParameters(model=str(tmp_path / "llama"), device="cpu", dtype="float32")


def need(shape: ModelShape, itemsize: int, size: int = 1) -> Need:
    return Need("statistics", {"weights": shape.parameters * itemsize, "activations": 1000 * size})


def test_a_stage_that_does_not_fit_is_refused_without_its_weights(
    parameters: ModelParameters, free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optishear.models.load._weights", lambda *_: pytest.fail("loaded"))
    plan_stage(parameters, lambda shape, itemsize, _: need(shape, itemsize))
    free["bytes"] = 1000
    with refused("statistics", parameters.model, "1000 B", "lower sequences"):
        plan_stage(parameters, lambda shape, itemsize, _: need(shape, itemsize), "lower sequences")


def test_unknown_memory_refuses_nothing(parameters: ModelParameters, free: dict[str, int | None]) -> None:
    free["bytes"] = None
    assert plan_batch(parameters, 4, need) == 4


def test_a_batch_is_as_large_as_fits(parameters: ModelParameters, free: dict[str, int | None]) -> None:
    assert plan_batch(parameters, 4, need) == 4
    sizes: dict[int, int] = {}

    def seen(shape: ModelShape, itemsize: int, size: int) -> Need:
        sizes[size] = need(shape, itemsize, size).total
        return need(shape, itemsize, size)

    plan_batch(parameters, 2, seen)
    free["bytes"] = sizes[2] + 1
    assert plan_batch(parameters, 4, need) == 2
    free["bytes"] = sizes[2] - 1
    assert plan_batch(parameters, 4, need) == 1


def test_a_run_is_refused_by_this_machines_memory_alone(
    parameters: ModelParameters, free: dict[str, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    free["bytes"] = 0
    run = SearchStageParameters(model=parameters.model, device="cpu", dtype="float32", placement="in_process")
    with refused("statistics"):
        check_stage_memory(tiny_model(), run, lambda shape, itemsize, _: need(shape, itemsize))
    monkeypatch.setattr(memory, "uses_deployments", lambda _: True)
    check_stage_memory(tiny_model(), run, lambda shape, itemsize, _: need(shape, itemsize))
