"""Steps against a plain version of their definition, and what holds while and after training."""

import pytest
import torch
from torch import Tensor, nn

from optishear.training import adam_passes
from optishear.training.factored_adam import MOMENTUM, SQUARES
from optishear.training.trained_weights import TrainedWeights, unpruned


@pytest.fixture(params=["PyTorch", "compiled"], autouse=True)
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to make a step; where nothing can be compiled, both are PyTorch's."""
    if request.param == "PyTorch":
        monkeypatch.setattr(adam_passes, "compiled_passes", lambda _dtype: None)


class Reference:
    """The definition in float64: Adam with factored second moments over kept weights."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach().double().reshape(-1, *weight.shape[-2:])
        self.kept = (self.weight != 0).double()
        self.momentum = torch.zeros_like(self.weight)
        self.rows = torch.zeros(self.weight.shape[:2]).double()
        self.columns = torch.zeros(self.weight.shape[0], self.weight.shape[2]).double()
        self.size = (self.weight.square().sum() / self.kept.sum()).sqrt()
        self.steps = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        self.steps += 1
        gradient = gradient.double().reshape_as(self.weight) * self.kept
        squares = gradient.square()
        self.momentum = MOMENTUM * self.momentum + (1 - MOMENTUM) * gradient
        self.rows = SQUARES * self.rows + (1 - SQUARES) * squares.sum(2) / self.kept.sum(2).clamp_min(1)
        self.columns = SQUARES * self.columns + (1 - SQUARES) * squares.sum(1) / self.kept.sum(1).clamp_min(1)
        kept_of_rows = self.kept.sum(2)
        mean = (self.rows * kept_of_rows).sum(1) / kept_of_rows.sum(1)
        second = self.rows[:, :, None] * self.columns[:, None, :] / mean[:, None, None]
        second = second / (1 - SQUARES**self.steps)
        average = self.momentum / (1 - MOMENTUM**self.steps)
        ratio = torch.where(self.kept > 0, average / second.clamp_min(1e-38).sqrt(), 0.0)
        self.weight = (self.weight - rate * self.size * ratio) * self.kept


def pruned_weight(*shape: int, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(*shape, generator=generator)
    weight[weight.abs() < 0.6] = 0
    return nn.Parameter(weight.to(dtype))


def train(parameter: nn.Parameter, gradients: Tensor, rate: float = 0.01, passes: int = 1) -> None:
    with TrainedWeights([parameter], []) as weights:
        for gradient in gradients:
            for _ in weights.step(rate, passes):
                (parameter * (gradient / passes).to(parameter.dtype)).sum().backward()


@pytest.mark.parametrize("shape", [(12, 20), (3, 12, 20)], ids=str)
@pytest.mark.parametrize("block", [7, 10_000])
def test_steps_are_those_of_the_definition(shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adam_passes.WEIGHTS_PER_BLOCK, "cpu", 20 * block)
    parameter = pruned_weight(*shape)
    reference = Reference(parameter)
    gradients = torch.randn(6, *shape, generator=torch.Generator().manual_seed(1))
    train(parameter, gradients)
    for gradient in gradients:
        reference.step(gradient, 0.01)
    torch.testing.assert_close(parameter.detach().double(), reference.weight.reshape(shape), rtol=1e-5, atol=1e-6)


def test_a_vector_has_a_second_moment_for_each_element() -> None:
    norm = nn.Parameter(torch.ones(4))
    expected = torch.ones(4)
    optimizer = torch.optim.Adam([{"params": [expected.requires_grad_()]}], lr=0.01, betas=(MOMENTUM, SQUARES), eps=0)
    gradients = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    with TrainedWeights([], [norm]) as weights:
        for gradient in gradients:
            for _ in weights.step(0.01, 1):
                (norm * gradient).sum().backward()
            expected.grad = gradient
            optimizer.step()
    torch.testing.assert_close(norm.detach(), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zeros_stay_and_no_kept_weight_becomes_zero(dtype: torch.dtype) -> None:
    parameter = pruned_weight(16, 32, dtype=dtype)
    zeros = parameter == 0
    # As large as the weights themselves, so that many of them pass through zero.
    train(parameter, torch.randn(20, 16, 32, generator=torch.Generator().manual_seed(3)), rate=1.0)
    assert torch.equal(parameter == 0, zeros)
    assert parameter.dtype == dtype
    assert bool(torch.isfinite(parameter).all())


def test_a_weight_that_a_step_takes_to_zero_stays_among_the_kept() -> None:
    # The smallest number of float16, of which nine tenths are taken away.
    parameter = nn.Parameter(torch.tensor([[2.0**-24, 0.0], [2.0**-24, 0.0]], dtype=torch.float16))
    train(parameter, torch.ones(1, 2, 2), rate=0.9)
    assert torch.equal(parameter != 0, torch.tensor([[True, False], [True, False]]))


def test_half_precision_adds_up_steps_that_are_smaller_than_its_own() -> None:
    exact, half = pruned_weight(16, 32), pruned_weight(16, 32, dtype=torch.bfloat16)
    exact.data.copy_(half)
    gradients = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(4)).repeat(50, 1, 1)
    before = exact.detach().clone()
    for parameter in (exact, half):
        train(parameter, gradients, rate=2e-4)
    moved, moved_half = exact.detach() - before, half.detach().float() - before
    # A step is a twentieth of what bfloat16 tells apart; without the residual nothing would move.
    assert float(torch.nn.functional.cosine_similarity(moved.flatten(), moved_half.flatten(), dim=0)) > 0.95


def test_several_passes_add_up_to_one_step() -> None:
    one, several = pruned_weight(8, 8), pruned_weight(8, 8)
    gradients = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(5))
    train(one, gradients)
    train(several, gradients, passes=4)
    torch.testing.assert_close(one, several)


def test_a_parameter_that_the_last_pass_did_not_reach_is_updated_too() -> None:
    parameter, reached = pruned_weight(4, 4), pruned_weight(4, 4)
    with TrainedWeights([parameter], []) as weights:
        for number in weights.step(0.01, 2):
            if number == 0:
                parameter.sum().backward()
    train(reached, torch.ones(1, 4, 4))
    assert torch.equal(parameter, reached)


def test_a_gradient_is_gone_as_soon_as_it_was_used() -> None:
    parameter = pruned_weight(4, 4)
    with TrainedWeights([parameter], []) as weights:
        for _ in weights.step(0.01, 1):
            parameter.sum().backward()
            assert parameter.grad is None
    assert not parameter.requires_grad


def test_a_state_goes_on_to_the_same_weights() -> None:
    gradients = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(6))
    whole, first, second = (pruned_weight(8, 8, dtype=torch.bfloat16) for _ in range(3))
    train(whole, gradients)
    with TrainedWeights([first], []) as weights:
        for gradient in gradients[:3]:
            for _ in weights.step(0.01, 1):
                (first * gradient.bfloat16()).sum().backward()
        state = {name: value.clone() for name, value in weights.state().items()}
    with TrainedWeights([second], []) as weights:
        weights.restore(state)
        for gradient in gradients[3:]:
            for _ in weights.step(0.01, 1):
                (second * gradient.bfloat16()).sum().backward()
    assert torch.equal(whole, second)


def test_a_gradient_that_overflows_in_float16_is_left_out_and_the_loss_scaled_down() -> None:
    parameter, norm = pruned_weight(4, 4, dtype=torch.float16), nn.Parameter(torch.ones(4, dtype=torch.float16))
    before = parameter.detach().clone()
    with TrainedWeights([parameter], [norm]) as weights:
        for _ in weights.step(0.1, 1):
            factor = weights.scale.factor
            assert factor > 1
            (1e-7 * factor * norm.float()).sum().backward()
            (parameter * torch.inf).sum().backward()
    assert torch.equal(parameter, before)
    assert bool((norm < 1).all())
    assert weights.scale.factor == factor / 2


def test_six_bytes_a_weight() -> None:
    """The weight itself, its residual and its momentum; rows and columns are few."""
    parameter = pruned_weight(512, 512, dtype=torch.bfloat16)
    state = TrainedWeights([parameter], []).state()
    assert sum(value.nbytes for value in state.values()) < 6.1 * parameter.numel()


def test_beside_the_pruned_weights_only_norms_and_biases_are_trained() -> None:
    block = nn.Module()
    block.linear = nn.Linear(4, 4)
    block.norm = nn.LayerNorm(4)
    block.experts = nn.Parameter(torch.ones(2, 4, 4))
    block.router = nn.Parameter(torch.ones(2, 4))
    found = unpruned(block, [block.linear.weight])
    assert {id(parameter) for parameter in found} == {
        id(parameter) for parameter in (block.linear.bias, block.norm.weight, block.norm.bias)
    }
