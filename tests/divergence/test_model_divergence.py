"""Reconstruction errors equal a direct computation on whole logits."""

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config
from transformers.modeling_utils import PreTrainedModel

from optishear.divergence import model_divergence
from optishear.divergence.model_divergence import ModelDivergence, combine_sequences
from optishear.models.features import split_at_head
from optishear.models.layers import prunable_layers
from optishear.models.loss_scale import LossScale
from tiny import random_calibration, tiny_model

TOKENS = random_calibration(5, 24).tokens


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    whole: torch.Tensor = model(TOKENS, use_cache=False).logits.double().flatten(0, 1)
    return whole


@torch.no_grad()
def damage(model: PreTrainedModel) -> None:
    for layer in prunable_layers(model):
        layer.module.weight[:, ::2] = 0


def soft_capped() -> PreTrainedModel:
    config = Gemma2Config(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, final_logit_softcapping=3.0, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


@pytest.mark.parametrize("likeliest_tokens", [200, 20])
def test_equal_to_whole_logits(family: str, likeliest_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_divergence, "LIKELIEST_TOKENS", likeliest_tokens)
    monkeypatch.setattr(model_divergence, "TOKENS_PER_CHUNK", 13)
    model = tiny_model(family)
    error = ModelDivergence(model, TOKENS, ("kl", "frobenius"), batch_size=2)
    dense = logits(model)
    assert error.measure() == {"kl": pytest.approx(0, abs=1e-6), "frobenius": 0.0}
    damage(model)
    pruned = logits(model)
    measured = error.measure()
    assert measured["frobenius"] == pytest.approx(float((dense - pruned).norm()), rel=1e-4)
    log_p, log_q = dense.log_softmax(-1), pruned.log_softmax(-1)
    exact = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
    if likeliest_tokens > 128:
        assert measured["kl"] == pytest.approx(exact, rel=1e-4)
    else:
        # Merging the tail into one outcome can only lower the divergence.
        kept = log_p.topk(likeliest_tokens).indices
        p, q = log_p.exp().gather(-1, kept), log_q.exp().gather(-1, kept)
        tail_p, tail_q = 1 - p.sum(-1), 1 - q.sum(-1)
        merged = float(((p * (p / q).log()).sum(-1) + tail_p * (tail_p / tail_q).log()).mean())
        assert measured["kl"] == pytest.approx(merged, rel=1e-4)
        assert measured["kl"] < exact


def test_fewer_sequences_are_the_first_ones() -> None:
    model = tiny_model()
    error = ModelDivergence(model, TOKENS, ("kl", "frobenius"), batch_size=2)
    alone = ModelDivergence(model, TOKENS[:3], ("kl", "frobenius"), batch_size=3)
    damage(model)
    measured, expected = error.measure(3), alone.measure()
    assert measured == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}


def test_each_sequence_by_itself_and_all_together(family: str) -> None:
    model = tiny_model(family)
    error = ModelDivergence(model, TOKENS, ("kl", "frobenius"), batch_size=2)
    alone = [ModelDivergence(model, TOKENS[index : index + 1], ("kl", "frobenius")) for index in range(len(TOKENS))]
    damage(model)
    each = error.measure_sequences()
    assert each == [{name: pytest.approx(value, rel=1e-5) for name, value in one.measure().items()} for one in alone]
    assert error.measure_sequences(1, 3) == [
        {name: pytest.approx(v, rel=1e-5) for name, v in one.items()} for one in each[1:4]
    ]
    assert error.measure() == {name: pytest.approx(value, rel=1e-6) for name, value in combine_sequences(each).items()}


@pytest.mark.parametrize("tokens_per_backward", [24, 60, 2048])
def test_a_backward_pass_measures_what_it_goes_through(
    tokens_per_backward: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_divergence, "TOKENS_PER_BACKWARD", tokens_per_backward)
    model = tiny_model()
    error = ModelDivergence(model, TOKENS, ("kl",), batch_size=2, measured=2)
    damage(model)
    for layer in prunable_layers(model):
        layer.module.weight.requires_grad_(True)
    assert error.backward(0, 2) == [
        {name: pytest.approx(value, rel=1e-5) for name, value in each.items()} for each in error.measure_sequences(0, 2)
    ]
    # Of the others no dense hidden states are kept.
    assert [set(each) for each in error.backward(2, 3)] == [{"kl"}] * 3


@pytest.mark.parametrize("likeliest_tokens", [200, 20, 1])
@pytest.mark.parametrize("make", [tiny_model, soft_capped])
def test_the_gradient_is_that_of_automatic_differentiation(
    make: Callable[[], PreTrainedModel], likeliest_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_divergence, "LIKELIEST_TOKENS", likeliest_tokens)
    monkeypatch.setattr(model_divergence, "TOKENS_PER_CHUNK", 13)
    monkeypatch.setattr(model_divergence, "TOKENS_PER_BACKWARD", 48)
    monkeypatch.setattr(model_divergence, "LOGITS_IN_CACHE", 400)
    model = make()
    error = ModelDivergence(model, TOKENS, ("kl",))
    with torch.no_grad():
        log_p = model(TOKENS[1:4]).logits.log_softmax(-1)
        damage(model)
    weights = [layer.module.weight.requires_grad_(True) for layer in prunable_layers(model)]
    error.backward(1, 3)
    found = [weight.grad for weight in weights]
    log_q = model(TOKENS[1:4]).logits.log_softmax(-1)
    kept = log_p.topk(min(likeliest_tokens, 128)).indices
    p, q = (each.exp().gather(-1, kept) for each in (log_p, log_q))
    divergence = (p * (p / q).log()).sum(-1)
    if likeliest_tokens < 128:
        tail_p, tail_q = 1 - p.sum(-1), 1 - q.sum(-1)
        divergence = divergence + tail_p * (tail_p / tail_q).log()
    expected = torch.autograd.grad(divergence.mean(), weights)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def small_gradients(dtype: torch.dtype, scale: LossScale | None) -> list[torch.Tensor]:
    """Of a model with large features and a small head, so that the gradients of the features are some 1e-8."""
    model = tiny_model().half()
    with torch.no_grad():
        model.model.norm.weight.mul_(2**12)
        model.lm_head.weight.mul_(2**-12)
    model = model.to(dtype)
    error = ModelDivergence(model, TOKENS, ("kl",))
    damage(model)
    weights = [layer.module.weight.requires_grad_(True) for layer in prunable_layers(model)]

    def back_propagate() -> list[torch.Tensor]:
        model.zero_grad()
        error.backward(0, len(TOKENS), scale)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        return gradients if scale is None else [scale.unscaled(gradient) for gradient in gradients]

    return back_propagate() if scale is None else scale.run(back_propagate)


def test_scaled_float16_gradients_do_not_underflow() -> None:
    expected = small_gradients(torch.float32, None)
    plain = small_gradients(torch.float16, None)
    scaled = small_gradients(torch.float16, LossScale(torch.float16))
    assert len(expected) == len(plain) == len(scaled) == 14
    for one, lost, found in zip(expected, plain, scaled, strict=True):
        assert (found - one).norm() / one.norm() < 0.005
        assert (lost - one).norm() / one.norm() > 0.02


def test_logits_that_are_not_linear_in_the_features_are_compared_whole() -> None:
    model = soft_capped()
    assert split_at_head(model).head is None
    assert split_at_head(tiny_model()).head is not None
    error = ModelDivergence(model, TOKENS, ("kl", "frobenius"))
    dense = logits(model)
    damage(model)
    pruned = logits(model)
    assert error.measure()["frobenius"] == pytest.approx(float((dense - pruned).norm()), rel=1e-4)


def test_frobenius_comes_for_free_with_a_linear_head_only() -> None:
    assert ModelDivergence(tiny_model(), TOKENS, ("kl",)).divergences == ("kl", "frobenius")
    assert ModelDivergence(tiny_model(), TOKENS, ("kl",), measured=0).divergences == ("kl",)
    assert ModelDivergence(soft_capped(), TOKENS, ("kl",)).divergences == ("kl",)


def test_a_broken_model_is_infinitely_far_away() -> None:
    model = tiny_model()
    error = ModelDivergence(model, TOKENS, ("kl", "frobenius"))
    with torch.no_grad():
        prunable_layers(model)[0].module.weight.fill_(torch.nan)
    assert error.measure() == {"kl": float("inf"), "frobenius": float("inf")}
