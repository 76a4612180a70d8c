"""The expected time of the other stages."""

import pytest

from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.timing.evaluation_work import EvaluationWork, Requests
from optishear.timing.stage_times import (
    calibrate_seconds,
    diagnose_seconds,
    evaluate_seconds,
    prune_seconds,
    reconstruct_seconds,
    recover_seconds,
    sparsegpt_seconds,
    statistics_seconds,
)
from speeds import speed


def test_self_generated_text_takes_a_step_for_each_token_and_batch() -> None:
    assert calibrate_seconds(speed(), CalibrationParameters(sequences=16, sequence_length=100)) == 25.0
    assert calibrate_seconds(speed(), CalibrationParameters(sequences=40, sequence_length=100)) == 50.0


def test_statistics_take_one_pass_over_the_calibration() -> None:
    assert statistics_seconds(speed(), sequences=8, sequence_length=200) == 16.0


def test_an_evaluation_is_its_windows_and_its_requests() -> None:
    windows = evaluate_seconds(speed(), EvaluationWork(windows=16))
    assert windows == 1.0 + 16 * 2.0
    asked = EvaluationWork(requests=(Requests(tokens=100, count=5), Requests(tokens=10, count=10)))
    assert evaluate_seconds(speed(), asked) == pytest.approx(1.0 + 5 * 1.0 + 10 * 0.1)
    generated = EvaluationWork(requests=(Requests(tokens=10, count=1, generated=50),))
    assert evaluate_seconds(speed(), generated) > evaluate_seconds(speed(), EvaluationWork(windows=1)) - 2.0


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        # Two blocks: 8 sequences × (2 passes × 0.25 + 0.125) + 4 each.
        ({"reconstruction": "admm"}, 2 * (8 * 0.625 + 4)),
        ({"reconstruction": "admm", "reconstruction_sequences": 4}, 2 * (4 * 0.625 + 4)),
        # Each tuning step runs a batch of 2,048 tokens forward and back.
        ({"tuning_steps": 2}, 2 * (8 * 0.875 + 4 + 2 * 20 * 0.25 * 3)),
    ],
)
def test_reconstruction(values: dict[str, object], seconds: float) -> None:
    parameters = ReconstructionParameters.model_validate(values)
    took = reconstruct_seconds(speed(), parameters, sequences=8, sequence_length=100)
    assert took == pytest.approx(prune_seconds(speed()) + seconds)


@pytest.mark.parametrize(("sequences", "fitted"), [(None, 8), (4, 4)])
def test_sparsegpt_has_a_solver_of_its_own(sequences: int | None, fitted: int) -> None:
    parameters = ReconstructionParameters.model_validate({"reconstruction_sequences": sequences})
    took = sparsegpt_seconds(speed(), parameters, sequences=8, sequence_length=100)
    assert took == pytest.approx(prune_seconds(speed()) + 2 * (fitted * 0.625 + 3))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"recovery_budget": "10m"}, 600),
        # 100 steps of gradients and an update; the dense model and 7 checks on 16 sequences.
        ({"recovery_tokens": 10_000}, 100 * (4 + 5) + 8 * 16),
        ({"recovery_tokens": 10_000, "recovery_budget": "10s"}, 10),
        # 20 steps of five sequences; on two GPUs a step lasts as long as that of the one with three.
        ({"recovery_tokens": 10_000, "recovery_sequences": 5}, 20 * (5 * 4 + 5) + 8 * 16),
        ({"recovery_tokens": 10_000, "recovery_sequences": 5, "recovery_gpus": 2}, 20 * (3 * 4 + 5) + 8 * 16),
    ],
)
def test_recovery(values: dict[str, object], seconds: float) -> None:
    parameters = RecoveryParameters.model_validate(values)
    took = recover_seconds(speed(), parameters, sequence_length=100)
    assert took == pytest.approx(2 * speed().load + prune_seconds(speed()) + seconds)


def test_steps_of_training_lie_on_a_line_through_two_lengths() -> None:
    measured = speed(tokens=512, short_training=2.0, training=8.0, update=1.0)
    assert measured.training_step(128) == pytest.approx(3.0)
    assert measured.training_step(320) == pytest.approx(6.0)
    assert measured.training_step(1024) == pytest.approx(17.0)
    assert measured.training_step(64) == pytest.approx(2.0)
    # Where both were measured on one short sequence, longer ones are in proportion.
    one_length = speed(tokens=100, short_training=2.0, training=2.0, update=1.0)
    assert one_length.training_step(200) == pytest.approx(5.0)


def test_the_diagnosis_grows_with_the_methods() -> None:
    two, three = (diagnose_seconds(speed(), 16, 100, methods) for methods in (2, 3))
    assert three > two


def test_requests_between_and_beyond_the_measured_lengths_lie_on_a_line() -> None:
    measured = speed(tokens=100, forward=1.0, short_tokens=10, short_forward=0.1)
    assert measured.request(10) == pytest.approx(0.1)
    assert measured.request(55) == pytest.approx(0.55)
    assert measured.request(200) == pytest.approx(2.0)
    assert 0 < measured.request(1) <= 0.1


def test_attention_grows_with_the_square_of_the_length() -> None:
    without, with_attention = speed(), speed(attention=10.0)
    extra = [with_attention.request(tokens) - without.request(tokens) for tokens in (2048, 4096)]
    assert extra[1] > 3.5 * extra[0] > 0
