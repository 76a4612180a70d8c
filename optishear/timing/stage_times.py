"""Seconds of each stage of a run, from the measured times and the stage's parameters."""

from optishear.calibration.self_generated import TEXTS_PER_BATCH
from optishear.diagnosis.layer_errors import TOKENS
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.reconstruction.schedule import held_out
from optishear.reconstruction.stream import TOKENS_PER_BATCH
from optishear.timing.evaluation_work import EvaluationWork
from optishear.timing.speed import Speed

# A backward pass takes about twice as long as the forward pass before it.
_FORWARD_AND_BACKWARD = 3.0
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


def reconstruct_seconds(
    speed: Speed, parameters: ReconstructionParameters, sequences: int, sequence_length: int
) -> float:
    """Expected seconds of reconstructing the kept weights and writing the checkpoint."""
    assert speed.block is not None
    assert speed.solve is not None
    assert speed.moments is not None
    fitted = parameters.reconstruction_sequences or sequences
    block = speed.per_sequence(speed.block, sequence_length)
    moments = speed.per_sequence(speed.moments, sequence_length)
    # Once for the moments and once for the next block's inputs; with tuning for the dense block's outputs too.
    passes = 3 if parameters.tuning_steps else 2
    in_step = max(1, TOKENS_PER_BATCH // sequence_length)
    tuning = parameters.tuning_steps * in_step * block * _FORWARD_AND_BACKWARD
    total = speed.blocks * (fitted * (passes * block + moments) + speed.solve + tuning)
    if parameters.distillation_steps:
        forward = speed.per_sequence(speed.forward, sequence_length)
        training_sequences = parameters.distillation_steps * parameters.distillation_sequences
        held_out_sequences = held_out(sequences)
        passes_over = max(1, training_sequences // max(1, sequences - held_out_sequences)) + 1
        total += forward * (
            min(training_sequences + held_out_sequences, sequences)
            + _FORWARD_AND_BACKWARD * training_sequences
            + passes_over * held_out_sequences
        )
    return prune_seconds(speed) + total


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
