import pytest
import torch

from optishear.models.loss_scale import FIRST_FACTOR, GradientOverflow, LossScale


@pytest.mark.parametrize("slope", [1e-9, 1.0, 3e4])
def test_float16_gradients_of_any_size_are_read_as_they_are(slope: float) -> None:
    weight = torch.ones(4, dtype=torch.float16, requires_grad=True)
    scale = LossScale(torch.float16)

    def gradient() -> torch.Tensor:
        weight.grad = None
        (weight.float() * slope * scale.factor).sum().backward()
        assert weight.grad is not None
        return scale.unscaled(weight.grad)

    found = scale.run(gradient)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((4,), slope), rtol=1e-3, atol=0)


def test_the_factor_stays_halved() -> None:
    scale, tries = LossScale(torch.float16), []

    def work() -> float:
        tries.append(scale.factor)
        scale.unscaled(torch.tensor([scale.factor * 3.0]).half())
        return scale.factor

    assert scale.run(work) == scale.run(work) == FIRST_FACTOR / 4
    assert tries == [FIRST_FACTOR, FIRST_FACTOR / 2, FIRST_FACTOR / 4, FIRST_FACTOR / 4]


def test_what_overflows_without_a_factor_is_left_to_the_caller() -> None:
    scale = LossScale(torch.float16)
    infinite = torch.tensor([torch.inf]).half()
    assert scale.run(lambda: scale.unscaled(infinite)) is infinite
    assert scale.factor == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_other_dtypes_have_no_factor(dtype: torch.dtype) -> None:
    scale, gradient = LossScale(dtype), torch.tensor([torch.nan], dtype=dtype)
    assert scale.factor == 1
    assert scale.unscaled(gradient) is gradient


def test_overflow_is_said_while_a_smaller_factor_may_help() -> None:
    with pytest.raises(GradientOverflow):
        LossScale(torch.float16).unscaled(torch.tensor([1.0, torch.nan]).half())
