"""Seconds of each stage of a run, from the measured times and the stage's parameters."""

import math
from bisect import bisect_right

from optishear.calibration.self_generated import TEXTS_PER_BATCH
from optishear.diagnosis.layer_errors import TOKENS
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.reconstruction.stream import TOKENS_PER_BATCH
from optishear.recovery.recovery_text import HELD_OUT
from optishear.recovery.rule import rule_for
from optishear.timing.evaluation_work import EvaluationWork
from optishear.timing.speed import Speed

# A backward pass takes about twice as long as the forward pass before it.
_FORWARD_AND_BACKWARD = 3.0
# No estimate of a recovery goes beyond.
_MOST_TOKENS = 10**12
# Weights that are written, hashed and read back a second.
_WEIGHTS_PER_SECOND = 6e7
# Weights whose scales the diagnosis sorts into histograms a second.
_SCALES_PER_SECOND = 2e7


def calibrate_seconds(speed: Speed, parameters: CalibrationParameters) -> float:
    """Expected seconds of generating the calibration text token by token."""
    assert speed.decode_step is not None
    batches = -(-parameters.sequences // TEXTS_PER_BATCH)
    return batches * parameters.sequence_length * speed.decode_step


def statistics_seconds(speed: Speed, sequences: int, sequence_length: int) -> float:
    """Expected seconds of one pass over the calibration."""
    assert speed.statistics is not None
    return sequences * speed.per_sequence(speed.statistics, sequence_length)


def prune_seconds(speed: Speed) -> float:
    """Expected seconds of masking the weights and writing the checkpoint."""
    return speed.load + 2 * (speed.new_masks or 0.0) + speed.weights / _WEIGHTS_PER_SECOND


def layer_solve_seconds(speed: Speed, solve: float | None, fitted: int, sequence_length: int) -> float:
    """Expected seconds of solving all layers on so many calibration sequences, block by block.

    Args:
        speed: measured.
        solve: of the layers of one block: ``speed.solve`` or ``speed.sparsegpt_solve``.
        fitted: number of sequences.
        sequence_length: tokens of each.
    """
    assert speed.block is not None
    assert solve is not None
    assert speed.moments is not None
    block = speed.per_sequence(speed.block, sequence_length)
    moments = speed.per_sequence(speed.moments, sequence_length)
    # One pass for the moments, and one for the next block's inputs.
    return speed.blocks * (fitted * (2 * block + moments) + solve)


def reconstruct_seconds(
    speed: Speed, parameters: ReconstructionParameters, sequences: int, sequence_length: int
) -> float:
    """Expected seconds of reconstructing the kept weights and writing the checkpoint."""
    assert speed.block is not None
    fitted = parameters.reconstruction_sequences or sequences
    total = layer_solve_seconds(speed, speed.solve, fitted, sequence_length)
    if parameters.tuning_steps:
        block = speed.per_sequence(speed.block, sequence_length)
        in_step = max(1, TOKENS_PER_BATCH // sequence_length)
        # One more pass for the dense block's outputs.
        total += speed.blocks * block * (fitted + parameters.tuning_steps * in_step * _FORWARD_AND_BACKWARD)
    return prune_seconds(speed) + total


def sparsegpt_seconds(
    speed: Speed, parameters: ReconstructionParameters, sequences: int, sequence_length: int
) -> float:
    """Expected seconds of SparseGPT on all layers and of writing the checkpoint."""
    fitted = parameters.reconstruction_sequences or sequences
    return prune_seconds(speed) + layer_solve_seconds(speed, speed.sparsegpt_solve, fitted, sequence_length)


def recover_seconds(speed: Speed, parameters: RecoveryParameters, sequence_length: int) -> float:
    """Expected seconds of a recovery: its budget, or those of its tokens; and of loading two models and writing one."""
    limits = []
    if parameters.recovery_budget is not None:
        limits.append(parameters.recovery_budget.seconds)
    if parameters.recovery_tokens is not None:
        limits.append(_training_seconds(speed, parameters.recovery_tokens, parameters, sequence_length))
    return 2 * speed.load + prune_seconds(speed) + min(limits)


def recovered_tokens(speed: Speed, seconds: float, parameters: RecoveryParameters, sequence_length: int) -> int:
    """Expected number of tokens that a recovery of so many seconds trains on, whatever the budget in ``parameters``."""

    def took(tokens: int) -> float:
        return _training_seconds(speed, tokens, parameters, sequence_length)

    most = 1
    while most < _MOST_TOKENS and took(most) <= seconds:
        most *= 2
    return bisect_right(range(most + 1), seconds, lo=1, key=took) - 1


def _training_seconds(speed: Speed, tokens: int, parameters: RecoveryParameters, sequence_length: int) -> float:
    """Expected seconds of training on so many tokens, with the checks, which are of the first GPU alone."""
    forward = speed.per_sequence(speed.forward, sequence_length) / sequence_length
    # In every check, the pruned model's outputs on what is held out; before the first one, the dense model's.
    rule = rule_for(tokens, sequence_length, parameters.recovery_sequences)
    checked = (rule.checks + 2) * HELD_OUT * sequence_length
    # A step lasts as long as that of the GPU with the most sequences. What the GPUs send each other is not measured.
    in_step = math.ceil(rule.sequences_per_step / parameters.recovery_gpus) * rule.step_length
    return tokens / rule.tokens_per_step * speed.training_step(in_step) + forward * checked


def evaluate_seconds(speed: Speed, work: EvaluationWork) -> float:
    """Expected seconds of one model's evaluation."""
    total = speed.load + work.windows * (speed.window or 0.0)
    for request in work.requests:
        total += request.count * (speed.request(request.tokens) + request.generated * speed.request(1))
    return total


def diagnose_seconds(speed: Speed, sequences: int, sequence_length: int, methods: int) -> float:
    """Expected seconds of the diagnosis: histograms, and the errors of each method on some of the calibration."""
    used = min(sequences, max(1, TOKENS // sequence_length)) * speed.per_sequence(speed.forward, sequence_length)
    return speed.load + 2 * (1 + methods) * used + methods * speed.weights / _SCALES_PER_SECOND


def footprint_seconds(speed: Speed) -> float:
    """Expected seconds of loading a model and decoding some tokens."""
    return speed.load + 40 * speed.request(1)
