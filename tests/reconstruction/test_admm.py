import pytest
import torch
from torch import Tensor

from optishear.masks.select import keep_mask
from optishear.pattern import parse_pattern
from optishear.reconstruction.admm import admm
from optishear.reconstruction.conditioning import FLOOR, condition
from optishear.reconstruction.conjugate_gradients import conjugate_gradients
from optishear.reconstruction.layers import SHIFT
from optishear.reconstruction.support import largest

from .conftest import DAMPING, Layer, random_layer
from .test_conjugate_gradients import least_squares


def wanda(layer: Layer, sparsity: str) -> Tensor:
    return keep_mask(condition(layer.moment, DAMPING).into(layer.weight).abs(), parse_pattern(sparsity))


def test_on_a_fixed_support_it_reaches_the_least_squares_solution(layer: Layer) -> None:
    conditioned = condition(layer.moment, DAMPING)
    target = conditioned.into(layer.weight)
    mask = wanda(layer, "0.5")
    found, same = admm(target, conditioned.moment, conditioned.shifted_inverse(SHIFT), SHIFT, mask, iterations=3000)
    assert torch.equal(same, mask)
    torch.testing.assert_close(found, least_squares(target, conditioned.moment, mask), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sparsity", ["0.5", "2:4", "4:8"])
def test_a_support_that_moves_keeps_the_pattern_and_lowers_the_error(sparsity: str) -> None:
    pattern = parse_pattern(sparsity)
    gains = []
    for seed in range(5):
        layer = random_layer(rows=32, seed=seed)
        conditioned = condition(layer.moment, DAMPING)
        target = conditioned.into(layer.weight)
        mask = wanda(layer, sparsity)
        found, moved = admm(
            target,
            conditioned.moment,
            conditioned.shifted_inverse(SHIFT),
            SHIFT,
            mask,
            iterations=40,
            refinements=30,
            select=lambda values: largest(values, pattern, pattern.fraction),
        )
        assert moved.sum() == mask.sum()
        if pattern.group is not None:
            assert (moved.reshape(-1, pattern.group).sum(dim=1) == pattern.kept).all()
        assert (found[~moved] == 0).all()
        best = [
            conditioned.back(conjugate_gradients(target, conditioned.moment, each, target, iterations=200)[0], target)
            for each in (mask, moved)
        ]
        gains.append(layer.error(best[1]) / layer.error(best[0]))
    assert max(gains) < 0.9


def test_dead_inputs(layer: Layer) -> None:
    layer.inputs[:, 5] = 0
    conditioned = condition(layer.moment, DAMPING)
    target = conditioned.into(layer.weight)
    assert (target[:, 5] == 0).all()
    back = conditioned.back(target, layer.weight)
    torch.testing.assert_close(back, layer.weight)
    assert conditioned.shifted_inverse(SHIFT).isfinite().all()
    mask = wanda(layer, "0.5")
    assert not mask[:, 5].any()


def test_in_these_units_the_error_is_the_same(layer: Layer) -> None:
    conditioned = condition(layer.moment, damping=0, floor=0)
    pruned = layer.weight * wanda(layer, "0.5")
    difference = conditioned.into(layer.weight) - conditioned.into(pruned)
    assert float((difference @ conditioned.moment * difference).sum()) == pytest.approx(layer.error(pruned))
    torch.testing.assert_close(conditioned.moment.diagonal(), torch.ones(24, dtype=torch.float64))


def test_an_input_that_one_token_used_is_not_fitted_to_that_token(layer: Layer) -> None:
    layer.inputs[:, 5] = 0
    layer.inputs[7, 5] = 1e-3
    layer.weight[:, 5] = 1
    mask = wanda(layer, "0.5")
    mask[:, 5] = True
    weights = {}
    for floor in (0.0, FLOOR):
        conditioned = condition(layer.moment, DAMPING, floor)
        target = conditioned.into(layer.weight)
        found, _ = conjugate_gradients(target, conditioned.moment, mask, target, iterations=200, tolerance=1e-9)
        weights[floor] = conditioned.back(found, layer.weight)[:, 5]
    assert weights[0.0].abs().max() > 1000
    torch.testing.assert_close(weights[FLOOR], torch.ones(12, dtype=torch.float64), rtol=0, atol=0.1)
