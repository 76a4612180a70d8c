import math

import pytest
import torch
from torch import nn

from optishear.models.layers import PrunableLayer
from optishear.ratios.allocate import allocate
from optishear.ratios.alphapruning import alphapruning_ratios, hill, squared_singular_values, tail_exponent
from optishear.statistics.statistics import Statistics


def pareto(exponent: float, count: int = 400) -> torch.Tensor:
    """The quantiles of a power law with density l^-exponent from 1 on, ascending."""
    points = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (1 - points) ** (-1 / (exponent - 1))


def layer_with(eigenvalues: torch.Tensor, index: int) -> PrunableLayer:
    module = nn.Linear(len(eigenvalues), len(eigenvalues), bias=False)
    module.weight = nn.Parameter(torch.diag(eigenvalues.sqrt()).float())
    return PrunableLayer(f"blocks.{index}.linear", module, index, "mlp_in")


def test_hills_estimate_is_the_closed_form() -> None:
    logs = torch.tensor([1.0, 2.0, 8.0]).log().double()
    assert hill(logs, 0) == pytest.approx(1 + 3 / (math.log(2) + math.log(8)))
    assert hill(logs, 1) == pytest.approx(1 + 2 / math.log(4))


def test_the_spectrum_is_that_of_the_correlation_matrix() -> None:
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.linalg.eigvalsh((weight.T @ weight).double())
    torch.testing.assert_close(squared_singular_values(weight), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exponent", [2.0, 3.0, 5.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    assert tail_exponent(pareto(exponent)) == pytest.approx(exponent, rel=0.03)
    # What lies below the peak does not belong to the tail, and the scale of the weights does not matter.
    bulk = torch.linspace(0.01, 0.8, 60, dtype=torch.float64)
    assert tail_exponent(torch.cat([bulk, pareto(exponent)])) == pytest.approx(exponent, rel=0.03)
    assert tail_exponent(7 * pareto(exponent)) == pytest.approx(tail_exponent(pareto(exponent)))


def test_no_tail_is_infinite() -> None:
    assert tail_exponent(torch.ones(5, dtype=torch.float64)) == math.inf


def test_heavier_tails_are_pruned_less_and_the_target_is_met() -> None:
    layers = [layer_with(pareto(exponent, 128), index) for index, exponent in enumerate((2.0, 3.0, 4.0))]
    exponents = [tail_exponent(squared_singular_values(layer.module.weight)) for layer in layers]
    middle = (exponents[1] - exponents[0]) / (exponents[2] - exponents[0])
    wished = torch.tensor([0.7, 0.7 + 0.6 * middle, 1.3], dtype=torch.float64)
    expected = wished * 0.5 / wished.mean()
    torch.testing.assert_close(alphapruning_ratios(layers, 0.5), expected)
    assert allocate("alphapruning", layers, Statistics({}), 0.5)["all"] == pytest.approx(expected.tolist())
    assert sum(allocate("alphapruning", layers, Statistics({}), 0.9)["all"]) == pytest.approx(2.7)


def test_layers_alike_are_pruned_alike() -> None:
    layers = [layer_with(pareto(2.5, 64), index) for index in range(3)]
    assert alphapruning_ratios(layers, 0.4).tolist() == pytest.approx([0.4] * 3)


def test_a_layer_without_a_spectrum_counts_as_the_lightest_tail() -> None:
    layers = [layer_with(pareto(2.0, 64), 0), layer_with(pareto(3.0, 64), 1), layer_with(torch.zeros(64), 2)]
    ratios = alphapruning_ratios(layers, 0.5).tolist()
    assert ratios[0] < ratios[1] == ratios[2]
    assert alphapruning_ratios([layer_with(torch.zeros(64), 0)], 0.5).tolist() == [0.5]
