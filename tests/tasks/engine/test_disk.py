"""A stage whose files do not fit is refused before it begins; what is stored needs no room."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from optishear.formats.stored import Format
from optishear.memory.model_shape import shape_of
from optishear.memory.solver_needs import recovery_state_bytes
from optishear.models.layers import prunable_layers
from optishear.parameters.model import ModelParameters
from optishear.pruning.export import export_checkpoint
from optishear.recovery.state import RecoveryState, save_state
from optishear.training.trained_weights import TrainedWeights
from tasks.engine.disk import checkpoint_bytes
from tasks.engine.stage import Stage
from tasks.stages.export import export_stage
from tasks.stages.parameters import ExportStageParameters
from tasks.store.artifacts import artifacts_folder
from tiny import tiny_model
from wording import refused

GIB = 2**30


def test_a_stage_that_does_not_fit_is_refused_before_it_begins(
    model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = ModelParameters(model=str(model))
    written: list[Path] = []

    def write(outputs: Path, _: ModelParameters) -> None:
        written.append(outputs)
        (outputs / "file").write_text("written")

    stage = Stage("prune", 1, (), lambda _: {}, write, disk=lambda _: 3 * GIB)
    disk = SimpleNamespace(total=9 * GIB, used=0, free=3 * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    with refused("prune", "3.02 GiB", "3.00 GiB", artifacts_folder()):
        stage.make(parameters)
    assert written == []
    assert [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    disk.free = 4 * GIB
    made = stage.make(parameters)
    disk.free = 0
    assert stage.make(parameters).key == made.key
    assert len(written) == 1


def test_a_pruned_checkpoint_takes_what_the_dense_one_does(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "tiny")
    size = (tmp_path / "tiny" / "model.safetensors").stat().st_size
    assert checkpoint_bytes(ModelParameters(model=str(tmp_path / "tiny"))) == size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_of_a_recovery_takes_what_is_planned(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_model().to(dtype)
    weights = TrainedWeights([layer.module.weight.data for layer in prunable_layers(model)], [])
    best = {f"best.{number}": value for number, value in enumerate(weights.copy())}
    save_state(tmp_path / "state", RecoveryState(), {**weights.state(), **best})
    planned = recovery_state_bytes(shape_of(model), dtype.itemsize)
    # Beside it are sums of rows and columns, which matter to layers as small as these, and the header.
    assert planned < (tmp_path / "state").stat().st_size < 1.3 * planned


@pytest.mark.parametrize("format", ["dense", "bitmask"])
def test_an_export_takes_what_is_planned(format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    with torch.no_grad():
        for layer in prunable_layers(model):
            layer.module.weight[:, ::2] = 0
    model.save_pretrained(tmp_path / "tiny")
    export_checkpoint(tmp_path / "tiny", tmp_path / "exported", format)
    (weights,) = (tmp_path / "exported").glob("*.safetensors")
    parameters = ExportStageParameters(model=str(tmp_path / "tiny"), format=format)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=GIB, used=0, free=0))
    assert export_stage.disk(parameters) == weights.stat().st_size
    with refused("export", artifacts_folder()):
        export_stage.make(parameters)
