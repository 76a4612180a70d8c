"""Text in two parts: what is searched on is not what is judged on."""

from pathlib import Path

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.evaluation.perplexity import perplexity
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.evaluate_held_out import judge_stage, load_perplexity
from tasks.stages.held_out import hold_back, load_judged
from tasks.stages.parameters import HoldBackStageParameters
from tiny import random_text


@pytest.fixture
def parameters(model_folder: Path, tmp_path: Path) -> HoldBackStageParameters:
    text = tmp_path / "text.txt"
    text.write_text(random_text(paragraphs=40))
    return HoldBackStageParameters(
        model=str(model_folder), calibration=str(text), sequences=3, judged_sequences=5, sequence_length=32
    )


@pytest.mark.usefixtures("prefect_server")
def test_the_parts_are_disjoint_and_together_what_was_drawn(parameters: HoldBackStageParameters) -> None:
    held = hold_back(parameters, "text")
    searched, judged = load_calibration(held).tokens, load_judged(held).tokens
    assert (len(searched), len(judged)) == (3, 5)
    drawn = load_calibration(calibrate_stage.make(parameters.model_copy(update={"sequences": 8}))).tokens
    assert torch.equal(torch.cat([searched, judged]), drawn)
    rows = {tuple(block.tolist()) for block in drawn}
    assert len(rows) == 8


@pytest.mark.usefixtures("prefect_server")
def test_what_is_held_back_is_judged_on(parameters: HoldBackStageParameters, tiny_llama: PreTrainedModel) -> None:
    held = hold_back(parameters, "text")
    found = load_perplexity(judge_stage.make(parameters, held))
    assert found == perplexity(tiny_llama, load_judged(held).tokens)
    assert found != perplexity(tiny_llama, load_calibration(held).tokens)
