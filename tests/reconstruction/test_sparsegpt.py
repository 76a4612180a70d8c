import pytest
import torch
from torch import Tensor

from optishear.errors import InputError
from optishear.pattern import Pattern, parse_pattern
from optishear.reconstruction.sparsegpt import inverse_factor, sparsegpt

from .conftest import Layer, random_layer


def step_by_step(weight: Tensor, moment: Tensor, pattern: Pattern, mask: Tensor | None, block_size: int) -> Tensor:
    """Optimal brain surgery column by column, with the inverse of what is left of H worked out anew for each column.

    The published algorithm reads these from one Cholesky factor; here each comes from its definition, in float64.
    """
    rows, width = weight.shape
    damped = moment + 0.01 * moment.diagonal().mean() * torch.eye(width, dtype=torch.float64)
    inverses = [torch.linalg.inv(damped[column:, column:]) for column in range(width)]
    first = torch.stack([inverse[0, 0] for inverse in inverses])
    weight = weight.clone()
    keep = torch.ones(rows, width, dtype=torch.bool) if mask is None else mask
    for column in range(width):
        if mask is None and pattern.group is not None and column % pattern.group == 0:
            columns = slice(column, column + pattern.group)
            saliency = weight[:, columns] ** 2 / first[columns]
            keep[:, columns] = True
            pruned = saliency.topk(pattern.group - (pattern.kept or 0), dim=1, largest=False).indices
            keep[:, columns].scatter_(1, pruned, False)
        elif mask is None and pattern.group is None and column % block_size == 0:
            columns = slice(column, column + block_size)
            saliency = weight[:, columns] ** 2 / first[columns]
            threshold = saliency.flatten().sort().values[int(saliency.numel() * pattern.fraction)]
            keep[:, columns] = saliency > threshold
        for row in range(rows):
            if not keep[row, column]:
                error = weight[row, column] / inverses[column][0, 0]
                weight[row, column:] -= error * inverses[column][0]
                weight[row, column] = 0
    return weight


@pytest.mark.parametrize("sparsity", ["0.5", "0.7", "2:4", "4:8"])
@pytest.mark.parametrize("given", [False, True])
def test_equals_the_definition(layer: Layer, sparsity: str, given: bool) -> None:
    pattern = parse_pattern(sparsity)
    mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5 if given else None
    expected = step_by_step(layer.weight, layer.moment, pattern, mask, block_size=8)
    exact, _ = sparsegpt(layer.weight, layer.moment, pattern, mask=mask, block_size=8)
    torch.testing.assert_close(exact, expected)
    single, kept = sparsegpt(layer.weight.float(), layer.moment.float(), pattern, mask=mask, block_size=8)
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-3)
    assert torch.equal(single == 0, ~kept)
    if mask is not None:
        assert torch.equal(kept, mask)


def test_groups_do_not_cross_the_blocks_of_columns() -> None:
    layer = random_layer(width=24)
    pattern = parse_pattern("4:8")
    blocks, mask = sparsegpt(layer.weight, layer.moment, pattern, block_size=12)
    assert (mask.reshape(-1, 8).sum(dim=1) == 4).all()
    whole, _ = sparsegpt(layer.weight, layer.moment, pattern, block_size=24)
    torch.testing.assert_close(blocks, whole)


def test_dead_inputs_are_pruned(layer: Layer) -> None:
    layer.inputs[:, 5] = 0
    weight, _ = sparsegpt(layer.weight, layer.moment, parse_pattern("0.5"), block_size=24)
    assert (weight[:, 5] == 0).all()
    assert weight.isfinite().all()


def test_the_factor_is_that_of_the_damped_inverse(layer: Layer) -> None:
    factor = inverse_factor(layer.moment, damping=0.1)
    damped = layer.moment + 0.1 * layer.moment.diagonal().mean() * torch.eye(24, dtype=torch.float64)
    torch.testing.assert_close(factor.T @ factor, torch.linalg.inv(damped))
    assert torch.equal(factor, factor.triu())


def test_a_group_must_divide_the_width(layer: Layer) -> None:
    with pytest.raises(InputError, match="does not divide the 24 inputs"):
        sparsegpt(layer.weight, layer.moment, parse_pattern("5:7"))


def test_a_moment_that_rounding_left_indefinite_is_damped_until_it_has_a_factor() -> None:
    moment = torch.tensor([[1.0, 1.5], [1.5, 1.0]])
    factor = inverse_factor(moment)
    torch.testing.assert_close(factor.T @ factor, torch.linalg.inv(moment + torch.eye(2)))
    with pytest.raises(torch.linalg.LinAlgError):
        inverse_factor(torch.tensor([[1.0, 9.0], [9.0, 1.0]]))
