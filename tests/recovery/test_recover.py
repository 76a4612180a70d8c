"""A tiny model is recovered, on a budget, and goes on after a kill."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.models.layers import prunable_layers
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import named_recipe
from optishear.recovery import recover as module
from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint
from optishear.recovery.recover import recover
from optishear.recovery.rule import RATE, rule_for
from optishear.recovery.summary import RecoverySummary
from optishear.statistics.collect import collect_statistics
from recovery_text import words_text
from tiny import random_calibration, tiny_model

STEPS = {"sequences_per_step": 4, "rate": 0.01}
TOKENS = 4096
CHECKS = rule_for(TOKENS, 32).checks


class Killed(Exception):
    """In place of a signal."""


def models(sparsity: str = "0.5", family: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
    dense = tiny_model(family).to(dtype).requires_grad_(False)
    pruned = copy.deepcopy(dense)
    calibration = random_calibration(8, 16)
    apply_recipe(pruned, named_recipe("wanda", sparsity), collect_statistics(pruned, calibration, progress=False))
    return pruned, dense


def recovered(
    folder: Path, pruned: PreTrainedModel, dense: PreTrainedModel, budget: Budget | None = None, **options: Any
) -> RecoverySummary:
    text = words_text(folder, dense)
    options = {**STEPS, **options}
    return recover(pruned, dense, prunable_layers(pruned), text, budget or Budget(None, TOKENS), **options)


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
def test_the_outputs_come_nearer_and_zeros_stay(family: str, sparsity: str, tmp_path: Path) -> None:
    pruned, dense = models(sparsity, family)
    zeros = [layer.module.weight == 0 for layer in prunable_layers(pruned)]
    before = [parameter.clone() for parameter in dense.parameters()]
    summary = recovered(tmp_path, pruned, dense)
    assert summary.after < 0.7 * summary.before
    assert summary.tokens == TOKENS
    assert summary.steps == TOKENS // (4 * 32)
    assert all(
        torch.equal(layer.module.weight == 0, zero) for layer, zero in zip(prunable_layers(pruned), zeros, strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(dense.parameters(), before, strict=True))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in pruned.parameters())


def test_half_precision(tmp_path: Path) -> None:
    pruned, dense = models(dtype=torch.bfloat16)
    summary = recovered(tmp_path, pruned, dense)
    assert summary.after < 0.8 * summary.before
    assert {parameter.dtype for parameter in pruned.parameters()} == {torch.bfloat16}


def test_the_curve_has_a_point_before_and_one_for_each_share(tmp_path: Path) -> None:
    pruned, dense = models()
    seen: list[tuple[int, float]] = []
    summary = recovered(tmp_path, pruned, dense, on_check=lambda curve, done: seen.append((len(curve), done)))
    assert len(summary.curve) == CHECKS + 1
    assert [count for count, _ in seen] == list(range(1, CHECKS + 2))
    assert seen[-1][1] == 1.0
    assert summary.curve[0] == CurvePoint(0, summary.curve[0].seconds, summary.before)
    assert summary.curve[-1].tokens == TOKENS


def test_steps_that_do_not_help_leave_the_weights_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rising = iter(range(1, CHECKS + 2))
    monkeypatch.setattr(module.ModelDivergence, "measure", lambda _: {"kl": float(next(rising))})
    pruned, dense = models()
    before = [parameter.clone() for parameter in pruned.parameters()]
    summary = recovered(tmp_path, pruned, dense)
    assert summary.after == summary.before
    assert summary.halvings == CHECKS
    assert summary.in_words == ""
    assert all(torch.equal(a, b) for a, b in zip(pruned.parameters(), before, strict=True))


def test_steps_that_are_too_wide_are_halved_from_the_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, dense = models()
    summary = recovered(tmp_path, pruned, dense, rate=1.0)
    assert 1 <= summary.halvings < CHECKS
    assert summary.after < summary.before
    monkeypatch.setattr(module, "WORSE", math.inf)
    pruned, dense = models()
    assert recovered(tmp_path, pruned, dense, rate=1.0).after > summary.after


def test_a_budget_of_time_ends_at_the_clock(tmp_path: Path) -> None:
    pruned, dense = models()
    started = time.monotonic()
    summary = recovered(tmp_path, pruned, dense, Budget(2.0, None))
    assert 2.0 <= summary.seconds <= time.monotonic() - started
    assert summary.after < summary.before


@pytest.mark.parametrize("budget", [Budget(3.0, None), Budget(None, TOKENS)], ids=str)
def test_batch_and_rate_follow_from_the_budget(tmp_path: Path, budget: Budget) -> None:
    pruned, dense = models()
    summary = recovered(tmp_path, pruned, dense, budget, sequences_per_step=None, rate=None)
    assert 0 < summary.rate == rule_for(TOKENS, 32, divergence=summary.before).rate
    assert summary.step_length == 32
    if budget.tokens is not None:
        assert summary.sequences_per_step == rule_for(TOKENS, 32).sequences_per_step == 1


def test_short_steps_of_a_longer_text(tmp_path: Path) -> None:
    pruned, dense = models()
    summary = recovered(tmp_path, pruned, dense, sequences_per_step=None, step_length=8)
    assert (summary.sequences_per_step, summary.step_length) == (1, 8)
    assert summary.steps == TOKENS // 8
    assert summary.after < summary.before


def test_a_larger_budget_has_more_and_larger_steps() -> None:
    rules = [(tokens, rule_for(tokens, 512)) for tokens in (10**4, 10**5, 10**6, 10**7, 10**8)]
    steps = [tokens // rule.tokens_per_step for tokens, rule in rules]
    assert steps == sorted(steps)
    assert [rule.step_length for _, rule in rules] == [128, 128, 512, 512, 512]
    assert [rule.sequences_per_step for _, rule in rules] == [1, 1, 1, 2, 8]
    assert [rule.checks for _, rule in rules] == [4, 12, 20, 20, 20]


def test_where_less_is_to_be_gained_the_steps_are_narrower() -> None:
    rates = [rule_for(10**6, 512, divergence=divergence).rate for divergence in (0.25, 0.5, 1.0, 2.0)]
    assert rates == [RATE / 4, RATE / 2, RATE, RATE]


def test_where_nothing_is_gained_the_rest_is_hastened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_stopped_falling", lambda curve: len(curve) > 2)
    pruned, dense = models()
    summary = recovered(tmp_path, pruned, dense)
    # A quarter before, and of the other three a quarter.
    assert summary.tokens == pytest.approx(TOKENS * (0.25 + 0.75 / 4), abs=2 * 128)


@pytest.mark.parametrize(("checks_before_a_kill", "rate"), [(2, 0.01), (4, 0.01), (2, 1.0)])
def test_killed_again_and_again_it_ends_at_the_same_weights(
    tmp_path: Path, checks_before_a_kill: int, rate: float
) -> None:
    budget = Budget(None, 10_240)
    checks = rule_for(10_240, 32).checks
    whole, dense = models(dtype=torch.bfloat16)
    expected = recovered(tmp_path, whole, dense, budget, rate=rate)
    assert (expected.halvings > 0) == (rate == 1.0)
    state_file = tmp_path / "state.safetensors"
    kills = 0

    def kill_after(remaining: int) -> Callable[[Sequence[CurvePoint], float], None]:
        def on_check(curve: Sequence[CurvePoint], _done: float) -> None:
            nonlocal remaining
            remaining -= 1
            if remaining < 0 and len(curve) <= checks:
                raise Killed

        return on_check

    while True:
        pruned, dense = models(dtype=torch.bfloat16)
        try:
            summary = recovered(
                tmp_path,
                pruned,
                dense,
                budget,
                rate=rate,
                state_file=state_file,
                on_check=kill_after(checks_before_a_kill),
            )
            break
        except Killed:
            kills += 1
            assert kills < 50
    assert kills >= 4
    assert all(torch.equal(a, b) for a, b in zip(pruned.parameters(), whole.parameters(), strict=True))
    assert [point.kl for point in summary.curve] == [point.kl for point in expected.curve]


def test_a_damaged_state_is_not_used(tmp_path: Path) -> None:
    state_file = tmp_path / "state.safetensors"
    state_file.write_bytes(b"no state")
    pruned, dense = models()
    assert recovered(tmp_path, pruned, dense, state_file=state_file).tokens == TOKENS


def test_outputs_that_are_not_finite_end_it_with_the_best_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, dense = models()
    measure = module.ModelDivergence.measure
    values = iter([None, None, math.nan])

    def measured(divergence: Any, *arguments: Any) -> Any:
        value = next(values)
        return measure(divergence, *arguments) if value is None else {"kl": value}

    monkeypatch.setattr(module.ModelDivergence, "measure", measured)
    summary = recovered(tmp_path, pruned, dense)
    assert len(summary.curve) == 3
    assert summary.after == summary.curve[1].kl
    assert all(bool(torch.isfinite(parameter).all()) for parameter in pruned.parameters())


def test_activations_that_are_computed_again_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, dense = models()
    recovered(tmp_path, kept, dense)
    monkeypatch.setattr("optishear.training.activations.free_memory", lambda _: 0)
    again, dense = models()
    recovered(tmp_path, again, dense)
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), again.parameters(), strict=True))
    assert not any(module.training for module in again.modules())


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_devices_that_share_a_step_end_where_one_device_does(
    sparsity: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One device makes a pass for each two of the four sequences.
    monkeypatch.setattr(module, "TOKENS_PER_BACKWARD", 64)
    alone, dense = models(sparsity, dtype=dtype)
    expected = recovered(tmp_path, alone, dense)
    monkeypatch.setattr(module, "TOKENS_PER_BACKWARD", 2048)
    shared, dense = models(sparsity, dtype=dtype)
    summary = recovered(tmp_path, shared, dense, further_devices=[torch.device("cpu")])
    assert [point.kl for point in summary.curve] == [point.kl for point in expected.curve]
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), shared.parameters(), strict=True))
    assert summary.after < summary.before


def test_devices_that_share_a_step_go_on_after_a_kill(tmp_path: Path) -> None:
    shared, dense = models()
    expected = recovered(tmp_path, shared, dense, further_devices=[torch.device("cpu")] * 2)

    def kill(curve: Sequence[CurvePoint], _done: float) -> None:
        if len(curve) == 3:
            raise Killed

    state_file = tmp_path / "state.safetensors"
    pruned, dense = models()
    with pytest.raises(Killed):
        recovered(
            tmp_path, pruned, dense, further_devices=[torch.device("cpu")] * 2, state_file=state_file, on_check=kill
        )
    pruned, dense = models()
    summary = recovered(tmp_path, pruned, dense, further_devices=[torch.device("cpu")] * 2, state_file=state_file)
    assert summary.after == expected.after
    assert all(torch.equal(a, b) for a, b in zip(pruned.parameters(), shared.parameters(), strict=True))


def test_devices_without_a_sequence_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pruned, dense = models()
    devices = [torch.device("cpu")] * 4
    with caplog.at_level("WARNING"):
        summary = recovered(tmp_path, pruned, dense, further_devices=devices)
    assert "1 of 5 devices" in caplog.text
    assert summary.after < summary.before


def test_an_offloaded_model_is_refused(tmp_path: Path) -> None:
    pruned, dense = models()
    pruned.lm_head.to("meta")
    pruned.model.layers[0].mlp.up_proj.to("meta")
    with pytest.raises(InputError, match="offloaded"):
        recover(pruned, dense, prunable_layers(dense), words_text(tmp_path, dense), Budget(None, TOKENS))
