import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel

from optishear.models.coverage import Coverage, coverage, warn_of_coverage
from optishear.models.layers import decoder_blocks
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import measured_sparsity, save_checkpoint
from optishear.recipes.recipe import named_recipe
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration

RECIPE = named_recipe("wanda", 0.5)


@pytest.fixture
def tiny_mixtral() -> PreTrainedModel:
    torch.manual_seed(0)
    config = MixtralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
        vocab_size=128,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model.eval()


def test_all_matrices_of_a_dense_model_are_prunable(family_model: PreTrainedModel) -> None:
    covered = coverage(family_model)

    assert covered.prunable_share == 1
    assert covered.left_out == {}
    assert covered.is_sufficient


def test_a_recount_of_the_saved_tensors_confirms_the_sparsities(
    tmp_path: Path, tiny_mixtral: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    summary = apply_recipe(tiny_mixtral, RECIPE, collect_statistics(tiny_mixtral, random_calibration(), progress=False))
    save_checkpoint(tmp_path / "model", tiny_mixtral, tiny_tokenizer, RECIPE, "")

    tensors = load_file(tmp_path / "model" / "model.safetensors")
    matrices = [tensor for name, tensor in tensors.items() if ".layers." in name and tensor.ndim == 2]
    weights = sum(tensor.numel() for tensor in matrices)
    zeros = sum(int((tensor == 0).sum()) for tensor in matrices)
    covered = coverage(tiny_mixtral)
    measured = measured_sparsity(tmp_path / "model", tiny_mixtral)
    assert covered.matrix_weights == weights
    assert measured.all_matrices == summary.sparsity_of_all_matrices == zeros / weights
    assert measured.prunable == summary.achieved_sparsity == zeros / covered.prunable_weights


def test_wording_names_the_largest_of_what_is_left_out() -> None:
    words = Coverage(100, 50, {"a": 30, "b": 10, "c": 7, "d": 3}).in_words()

    assert words == (
        "50.00% of the weights in the decoder blocks' matrices are prunable; left out: a (30.00%), b (10.00%), "
        "c (7.00%) and 1 more"
    )


def test_warns_where_little_is_prunable(family_model: PreTrainedModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="optishear"):
        warn_of_coverage(family_model)
        decoder_blocks(family_model)[1][0].extra = torch.nn.Parameter(torch.zeros(100, 1000))
        warn_of_coverage(family_model)

    first, second = caplog.records
    assert (first.levelno, second.levelno) == (logging.INFO, logging.WARNING)
    assert "left out: extra (" in second.message
