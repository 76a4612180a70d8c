"""Where the calibration is made, and what it loads."""

from pathlib import Path

import pytest

from tasks.engine import stage as engine
from tasks.engine.stage import Stage
from tasks.stages import calibrate
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.parameters import CalibrateStageParameters


@pytest.fixture
def parameters(model_folder: Path, tmp_path: Path) -> CalibrateStageParameters:
    text = tmp_path / "text.txt"
    text.write_text("the rest of this heat is on that other hand, and it has no end. " * 40)
    return CalibrateStageParameters(model=str(model_folder), calibration=str(text), sequences=4, sequence_length=32)


def test_a_text_is_cut_without_the_models_weights(
    parameters: CalibrateStageParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "shared_model", None)  # a call would raise
    assert load_calibration(calibrate_stage.make(parameters)).tokens.shape == (4, 32)


def test_text_of_the_model_needs_its_weights(parameters: CalibrateStageParameters) -> None:
    blocks = load_calibration(calibrate_stage.make(parameters.model_copy(update={"calibration": "self"})))
    assert blocks.tokens.shape == (4, 32)


@pytest.mark.parametrize("source", ["self", "text"])
def test_only_text_of_the_model_goes_to_the_gpu_pool(
    parameters: CalibrateStageParameters, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(engine, "with_dtype", lambda group, on_gpu: asked.append(on_gpu) or group)
    calibrate_stage.request(parameters.model_copy(update={"calibration": source} if source == "self" else {}))
    assert asked == [source == "self"]


def test_a_stage_needs_a_gpu_unless_it_says_otherwise() -> None:
    stage: Stage[CalibrateStageParameters, []] = Stage(
        "any", 1, (), lambda _: {}, lambda *_: None, on_gpu=CalibrateStageParameters
    )
    assert stage.needs_gpu(CalibrateStageParameters())
