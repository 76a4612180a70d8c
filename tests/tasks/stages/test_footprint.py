"""The stage that measures what a model takes: a footprint of one device is not taken for another one's."""

from pathlib import Path

import pytest
import torch

from optishear.parameters.model import ModelParameters
from tasks.engine.deployments import deployment_arguments
from tasks.stages.footprint import footprint_stage
from tasks.stages.parameters import EvaluateStageParameters


@pytest.fixture
def parameters(model: Path) -> EvaluateStageParameters:
    return EvaluateStageParameters(model=str(model), placement="in_process", dtype="float32")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the GPUs that this machine has, as far as the stage can tell."""
    names = ["GPU A", "GPU B"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(names))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index or 0])
    return names


def key(parameters: EvaluateStageParameters, device: str) -> str:
    return footprint_stage.request(parameters.model_copy(update={"device": device})).key


def test_each_device_has_a_footprint_of_its_own(parameters: EvaluateStageParameters, gpus: list[str]) -> None:
    assert len({key(parameters, device) for device in ("cpu", "cuda:0", "cuda:1")}) == 3
    assert key(parameters, "auto") == key(parameters, "cuda") == key(parameters, "cuda:0")
    gpus[1] = gpus[0]
    assert key(parameters, "cuda:0") == key(parameters, "cuda:1")


def test_auto_is_the_device_that_is_there(parameters: EvaluateStageParameters, gpus: list[str]) -> None:
    on_gpu = key(parameters, "auto")
    gpus.clear()
    assert key(parameters, "auto") == key(parameters, "cpu") != on_gpu


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_worker_makes_what_the_flow_waits_for(model_folder: Path, device: str) -> None:
    from flows import gpu_stages as stages

    asked = EvaluateStageParameters(model=str(model_folder), device=device, dtype="float32", placement="deployments")
    waited_for = footprint_stage.request(asked).key
    made = stages.footprint(ModelParameters(**deployment_arguments(asked, ModelParameters, {})["parameters"]))
    assert made.key == waited_for
    # In this process it would be measured on what this machine has.
    here = key(asked.model_copy(update={"placement": "in_process"}), device)
    assert (here == waited_for) is (device == "cpu")


@pytest.mark.parametrize("device", ["auto", "cuda:1"])
def test_a_flow_asks_for_a_gpu_that_only_the_worker_sees(
    parameters: EvaluateStageParameters, gpus: list[str], device: str
) -> None:
    asked = parameters.model_copy(update={"placement": "deployments"})
    with_gpus = key(asked, device)
    gpus.clear()
    assert key(asked, device) == with_gpus != key(asked, "cpu")
