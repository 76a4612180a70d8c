"""The measured pass."""

import pytest
import torch

from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pattern import parse_pattern
from optishear.timing.measure import MeasuredPass, Step, measure_speed
from tiny import make_tokenizer, tiny_model

TIMES: dict[Step, set[str]] = {
    "statistics": {"statistics"},
    "search": {"statistics", "dense_divergence", "divergence", "marginal_costs", "new_masks", "kept_masks"},
    "window": {"window"},
    "decode": {"decode_step"},
    "reconstruction": {"block", "moments", "solve"},
    "sparsegpt": {"block", "moments", "sparsegpt_solve"},
    "training": {"short_training", "training", "update"},
}
ALL = frozenset().union(*TIMES.values())


@pytest.mark.parametrize("step", TIMES)
def test_a_step_that_is_asked_for_is_measured_and_no_other(step: Step) -> None:
    speed = measure_speed(tiny_model(), make_tokenizer(), MeasuredPass(frozenset({step}), 64, 64), 0.5)
    measured = {name for name in ALL if getattr(speed, name) is not None}
    assert measured == TIMES[step]
    assert all(getattr(speed, name) >= 0 for name in measured)
    assert speed.load == 0.5
    assert speed.tokens == 64


@pytest.mark.parametrize("sparsity", ["0.5", "2:4"])
def test_the_model_is_left_as_it_was(family: str, sparsity: str) -> None:
    model = tiny_model(family).requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    reconstruction = ReconstructionParameters(reconstruction="admm")
    wanted = MeasuredPass(frozenset(TIMES), 64, 64, 2, pattern=parse_pattern(sparsity), reconstruction=reconstruction)
    speed = measure_speed(model, make_tokenizer(), wanted, 0.0)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(weight.requires_grad or weight.grad is not None for weight in model.parameters())
    # An N:M pattern fixes the counts, so that no ranks are kept.
    assert (speed.kept_masks is None) == (sparsity == "2:4")


def test_a_slow_model_is_measured_on_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optishear.timing.measure._SECONDS_PER_PASS", 0.0)
    speed = measure_speed(tiny_model(), make_tokenizer(), MeasuredPass(frozenset({"window"}), 128, 256), 0.0)
    assert speed.tokens == 64
    # The window is scaled up to its length.
    assert speed.window is not None
    assert speed.window > 0
