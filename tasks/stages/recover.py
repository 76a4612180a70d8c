"""Stage 4c: train the kept weights of the pruned model, and save the checkpoint in place of the former, ``model/``."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import check_calibration
from optishear.calibration.text import text_digest
from optishear.errors import InputError
from optishear.file_names import CHECKPOINT
from optishear.home import recoveries_folder
from optishear.memory.solver_needs import RECOVERY_FIX, plan_recovery, recovery_state_bytes
from optishear.models.devices import SHARD, further_devices, resolve_device
from optishear.models.layers import PrunableLayer
from optishear.models.load import load_model
from optishear.models.precision import DTYPES
from optishear.models.select_layers import select_layers
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.pruning.apply import count_zeros
from optishear.recipes.recipe import Recipe
from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint
from optishear.recovery.recover import recover
from optishear.recovery.recovery_text import HELD_OUT, RecoveryText
from optishear.recovery.rule import RULE_VERSION, rule_for
from optishear.recovery.summary import RecoverySummary
from tasks.engine.disk import checkpoint_bytes, shape_of_model
from tasks.engine.memory import Choice, check_stage_memory, plan_stage
from tasks.engine.model_cache import take_model
from tasks.engine.placement import uses_deployments
from tasks.engine.progress import progress_bar
from tasks.engine.stage import Stage
from tasks.stages.parameters import RecoverStageParameters
from tasks.stages.prune import checkpoint_metrics, save_pruned, sparsities
from tasks.store.artifacts import Artifact, Request
from tasks.store.keys import digest, model_digest
from tasks.store.model_sources import find_model
from tasks.tracking.recovery_metrics import recovery_metrics


def check_recovery(parameters: RecoveryParameters) -> None:
    """Refuse texts that cannot be read, and settings of a recovery without a budget, which would be ignored silently.

    Raises:
        InputError: names the parameter or the text.
    """
    for text in parameters.recovery_texts:
        check_calibration(text.source)
    others = [name for name in ("recovery_texts", "recovery_sequences", "recovery_rate") if getattr(parameters, name)]
    if parameters.recovery_gpus > 1:
        others.append("recovery_gpus")
    if others and not parameters.recovers:
        raise InputError(
            f"The parameter {others[0]} is given without a recovery; give recovery_budget or recovery_tokens, too."
        )


def check_recovery_gpus(parameters: ModelParameters, recovery: RecoveryParameters) -> None:
    """Refuse more GPUs for a recovery than there are; those of a worker are checked by the worker.

    Raises:
        InputError: names the number.
    """
    gpus = recovery.recovery_gpus
    if gpus > 1 and parameters.device == SHARD:
        raise InputError(
            f"{gpus} GPUs cannot share a recovery in parts of device {SHARD!r}, which needs all of them for one model; "
            "give recovery_gpus 1."
        )
    if not uses_deployments(parameters):
        further_devices(resolve_device(parameters.device), gpus)


def _sources(parameters: RecoverStageParameters) -> list[str]:
    return [text.source for text in parameters.recovery_texts] or [parameters.calibration]


def _inputs(parameters: RecoverStageParameters, recipe: Recipe, pruned: Artifact) -> dict[str, str]:
    return {
        "model": model_digest(parameters),
        "recipe": digest(recipe.model_dump(mode="json")),
        "pruned": pruned.key,
        "texts": digest([text_digest(source) for source in _sources(parameters)]),
        "rule": str(RULE_VERSION),
    }


def _write(outputs: Path, parameters: RecoverStageParameters, recipe: Recipe, pruned: Artifact) -> float:
    plan_stage(parameters, _memory(parameters, parameters.sequence_length), RECOVERY_FIX)
    checkpoint = load_model(
        str(pruned.path(CHECKPOINT)),
        dtype=parameters.dtype,
        device=parameters.device,
        trust_remote_code=parameters.trust_remote_code,
    )
    layers = select_layers(checkpoint.model, recipe.selection)
    state_file = _state_file(recover_stage.request(parameters, recipe, pruned))
    started = time.monotonic()
    summary = _recover(checkpoint.model, layers, parameters, state_file)
    earlier_seconds = max(0.0, summary.seconds - (time.monotonic() - started))
    before = checkpoint_metrics(pruned)
    words = [before.reconstruction_in_words, summary.in_words]
    save_pruned(
        outputs,
        replace(checkpoint, source=find_model(parameters.model)),
        recipe,
        count_zeros(checkpoint.model, layers),
        before.experts_in_words,
        reconstruction_in_words=", then ".join(filter(None, words)),
        mask_rule=before.mask_rule,
        reconstruction=before.reconstruction,
        recovery=summary,
    )
    return earlier_seconds


def _recover(
    model: PreTrainedModel, layers: list[PrunableLayer], parameters: RecoverStageParameters, state_file: Path
) -> RecoverySummary:
    """Recover the pruned model; the dense one is in memory only meanwhile."""
    dense = take_model(parameters)
    text = RecoveryText(
        _sources(parameters),
        dense.model,
        dense.tokenizer,
        parameters.sequence_length,
        HELD_OUT,
        seed=parameters.seed,
        bos=parameters.bos,
    )
    budget = Budget.of(parameters)
    with recovery_metrics(budget) as log_check, progress_bar("recovery", "budget of the recovery") as show:

        def on_check(curve: Sequence[CurvePoint], done: float) -> None:
            show(done)
            log_check(curve, done)

        return recover(
            model,
            dense.model,
            layers,
            text,
            budget,
            sequences_per_step=parameters.recovery_sequences,
            rate=parameters.recovery_rate,
            further_devices=further_devices(model.device, parameters.recovery_gpus),
            state_file=state_file,
            on_check=on_check,
        )


def check_memory_of_recovery(
    model: PreTrainedModel,
    parameters: ModelParameters,
    recovery: RecoveryParameters,
    calibration: CalibrationParameters,
) -> None:
    """Refuse two models that do not fit the device while one of them is trained.

    Raises:
        InputError: names the memory.
    """
    if recovery.recovers:
        check_stage_memory(model, parameters, _memory(recovery, calibration.sequence_length), RECOVERY_FIX)


def _memory(parameters: RecoveryParameters, length: int) -> Choice:
    in_step: int | None = None
    if parameters.recovery_sequences is not None:
        in_step = parameters.recovery_sequences * length
    elif parameters.recovery_tokens is not None:
        in_step = rule_for(parameters.recovery_tokens, length).tokens_per_step
    return lambda shape, itemsize, free: plan_recovery(
        shape, itemsize, free, length=length, tokens_per_step=in_step, devices=parameters.recovery_gpus
    )


def _disk(parameters: RecoverStageParameters) -> int:
    """The state and the one before, which stays until the new one is whole; at the end the state and the checkpoint."""
    shape, checkpoint = shape_of_model(parameters), checkpoint_bytes(parameters)
    if shape is None or parameters.dtype not in DTYPES:
        return checkpoint
    state = recovery_state_bytes(shape, DTYPES[parameters.dtype].itemsize)
    return state + max(state, checkpoint)


def _state_file(request: Request) -> Path:
    """Where a recovery saves its state, from which a killed one or a Retry goes on."""
    return recoveries_folder() / f"{request.key}.safetensors"


def _scores(checkpoint: Artifact) -> dict[str, float | None]:
    recovery = checkpoint_metrics(checkpoint).recovery
    assert recovery is not None  # the stage writes no checkpoint without
    return {
        **sparsities(checkpoint),
        "held_out_kl_before": recovery.before,
        "held_out_kl_after": recovery.after,
        "tokens": float(recovery.tokens),
    }


recover_stage = Stage(
    name="recover",
    version=1,
    parameters=(
        "recovery_budget",
        "recovery_tokens",
        "recovery_sequences",
        "recovery_rate",
        "sequence_length",
        "bos",
        "seed",
        "dtype",
    ),
    inputs=_inputs,
    write=_write,
    disk=_disk,
    after=lambda request: _state_file(request).unlink(missing_ok=True),
    on_gpu=RecoverStageParameters,
    scores=_scores,
)
