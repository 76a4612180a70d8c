"""Offloaded weights are refused by all that reads or writes weights; flags for gradients are as before afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import cpu_offload, disk_offload

from optishear.errors import InputError
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from tiny import random_calibration, tiny_model

CALIBRATION = random_calibration(8, 16)
HALF = parse_pattern("0.5")
STATISTICS = collect_statistics(tiny_model(), CALIBRATION, progress=False)
SEARCH = read_parameters(
    SearchParameters, {"trials": 8, "population": 4, "search_sequences": 2, "rounds": 1, "descent_steps": 2}
)
USES: dict[str, Callable[[Any], Any]] = {
    "statistics": lambda model: collect_statistics(model, CALIBRATION, progress=False),
    "gradients": lambda model: collect_gradients(model, CALIBRATION, progress=False),
    "search": lambda model: run_search(model, {"": CALIBRATION}, STATISTICS, SEARCH, HALF, progress=False),
    "prune": lambda model: apply_recipe(model, named_recipe("wanda", HALF), STATISTICS),
    **{
        f"reconstruct by {method}": lambda model, method=method: reconstruct(
            model,
            named_recipe("wanda", HALF),
            STATISTICS,
            CALIBRATION,
            read_parameters(ReconstructionParameters, {"reconstruction": method, "tuning_steps": 2}),
        )
        for method in ("admm", "sparsegpt")
    },
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_offloaded_weights_are_refused_before_any_layer_is_touched(tmp_path: Path, use: str, place: str) -> None:
    model = tiny_model().requires_grad_(False)
    if place == "cpu":
        model = cpu_offload(model, execution_device="cpu")
    else:
        model = disk_offload(model, tmp_path, execution_device="cpu")
    with pytest.raises(InputError, match="offloaded"):
        USES[use](model)


@pytest.mark.parametrize("use", USES)
def test_a_model_that_asks_for_gradients_is_left_as_it_was(use: str) -> None:
    model = tiny_model().requires_grad_(True)
    model.lm_head.weight.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    USES[use](model)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
    assert all(parameter.grad is None for parameter in model.parameters())
