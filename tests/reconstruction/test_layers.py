"""Layers that share an input: what the odd inputs come to."""

import pytest
import torch
from torch import Tensor, nn

from optishear.masks.select import keep_mask
from optishear.models.layers import PrunableLayer
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import parse_pattern
from optishear.reconstruction.layers import LayerTask, relative_error, solve_layers
from optishear.reconstruction.support import largest
from wording import refused

from .conftest import random_layer


def task(sparsity: str, with_mask: bool = True, dtype: torch.dtype = torch.float32) -> LayerTask:
    module = nn.Linear(24, 12, bias=False)
    module.weight.data = random_layer().weight.to(dtype)
    pattern = parse_pattern(sparsity)
    mask = keep_mask(module.weight.data.float().abs(), pattern) if with_mask else None
    return LayerTask(PrunableLayer("block.mlp", module, 0, "mlp_in"), mask, pattern, pattern.fraction)


def moment() -> Tensor:
    return random_layer().moment.float()


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
@pytest.mark.parametrize("method", ["none", "sparsegpt", "admm"])
def test_a_layer_that_no_token_went_through_keeps_its_weights_under_the_recipes_mask(
    method: str, sparsity: str
) -> None:
    asked = task(sparsity)
    (solved,) = solve_layers([asked], torch.zeros(24, 24), ReconstructionParameters(reconstruction=method))
    assert asked.mask is not None
    assert torch.equal(solved.mask, asked.mask)
    assert torch.equal(solved.weight, asked.layer.module.weight * asked.mask)
    assert relative_error(asked.layer.module.weight.detach(), solved.weight, torch.zeros(24, 24)) == 0


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
@pytest.mark.parametrize("method", ["sparsegpt", "admm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_pruned_weights_are_zeros_without_a_sign(method: str, sparsity: str, layers: int) -> None:
    """The bitmask format keeps negative zeros as values."""
    parameters = ReconstructionParameters(reconstruction=method)
    for solved in solve_layers([task(sparsity) for _ in range(layers)], moment(), parameters):
        assert (solved.weight == 0).any()
        assert not solved.weight[solved.weight == 0].signbit().any()


def test_without_a_mask_such_a_layer_keeps_its_largest_weights() -> None:
    asked = task("0.5", with_mask=False)
    (solved,) = solve_layers([asked], torch.zeros(24, 24), ReconstructionParameters(reconstruction="sparsegpt"))
    assert torch.equal(solved.mask, largest(asked.layer.module.weight, asked.pattern, 0.5))
    assert torch.equal(solved.weight == 0, ~solved.mask)


@pytest.mark.parametrize("method", ["none", "sparsegpt", "admm"])
def test_inputs_that_are_not_finite_are_refused(method: str) -> None:
    broken = moment()
    broken[3, 5] = torch.inf
    with refused("inputs", "float16", "dtype", "auto", "bfloat16"):
        solve_layers([task("0.5", dtype=torch.float16)], broken, ReconstructionParameters(reconstruction=method))


def test_the_relative_error_is_that_of_the_outputs() -> None:
    layer = random_layer()
    pruned = layer.weight * (layer.weight.abs() > 0.5)
    outputs = (layer.weight @ layer.inputs.T).square().sum() / len(layer.inputs)
    assert relative_error(layer.weight, pruned, layer.moment) == pytest.approx(layer.error(pruned) / float(outputs))


def test_rows_that_did_not_reach_the_tolerance_are_told() -> None:
    parameters = {"reconstruction": "admm", "reconstruction_iterations": 2}
    for tolerance, fraction in ((0.999, 1.0), (1e-6, 0.0)):
        made = ReconstructionParameters(**parameters, reconstruction_tolerance=tolerance)
        assert solve_layers([task("0.5")], moment(), made)[0].converged == fraction
    assert solve_layers([task("0.5")], moment(), ReconstructionParameters())[0].converged is None
