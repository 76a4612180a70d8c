"""Text in two parts: the sequences of the search are not those of the evaluation."""

from pathlib import Path

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.evaluation.perplexity import perplexity
from tasks.stages.calibrate import calibrate_stage, load_calibration
from tasks.stages.evaluate_held_out import evaluate_held_out_stage, load_perplexity
from tasks.stages.held_out import hold_out, load_held_out
from tasks.stages.parameters import HoldOutStageParameters
from tiny import random_text


@pytest.fixture
def parameters(model_folder: Path, tmp_path: Path) -> HoldOutStageParameters:
    text = tmp_path / "text.txt"
    text.write_text(random_text(paragraphs=40))
    return HoldOutStageParameters(
        model=str(model_folder), calibration=str(text), sequences=3, held_out_sequences=5, sequence_length=32
    )


@pytest.mark.usefixtures("prefect_server")
def test_the_parts_are_disjoint_and_together_what_was_drawn(parameters: HoldOutStageParameters) -> None:
    artifact = hold_out(parameters, "text")
    searched, held_out = load_calibration(artifact).tokens, load_held_out(artifact).tokens
    assert (len(searched), len(held_out)) == (3, 5)
    drawn = load_calibration(calibrate_stage.make(parameters.model_copy(update={"sequences": 8}))).tokens
    assert torch.equal(torch.cat([searched, held_out]), drawn)
    rows = {tuple(block.tolist()) for block in drawn}
    assert len(rows) == 8


@pytest.mark.usefixtures("prefect_server")
def test_the_held_out_blocks_are_evaluated(parameters: HoldOutStageParameters, tiny_llama: PreTrainedModel) -> None:
    artifact = hold_out(parameters, "text")
    value = load_perplexity(evaluate_held_out_stage.make(parameters, artifact))
    assert value == perplexity(tiny_llama, load_held_out(artifact).tokens)
    assert value != perplexity(tiny_llama, load_calibration(artifact).tokens)
