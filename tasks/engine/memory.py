"""The memory of a stage, compared with that of its device before any weight is loaded."""

import logging
from collections.abc import Callable
from functools import partial

from transformers.modeling_utils import PreTrainedModel

from optishear.memory.fit import check_need, fitting_batch, least_room, log_ways
from optishear.memory.model_shape import ModelShape, known_shape, shape_of_resident, shape_of_shard
from optishear.memory.need import Need
from optishear.models.devices import DISK, resolve_devices
from optishear.models.load import model_without_weights
from optishear.models.precision import DTYPES
from optishear.models.shards import placement_on
from optishear.parameters.model import ModelParameters
from tasks.engine.model_cache import held_bytes
from tasks.engine.placement import uses_deployments
from tasks.engine.precision import precision_of
from tasks.store.model_sources import find_model
from tasks.tracking.flow_runs import unless_unreachable
from tasks.tracking.stage_runs import current_stage_run

logger = logging.getLogger("optishear.stages")


# A need, from the model's shape, the bytes of a weight, and the free bytes of the device (``None`` if unknown).
Choice = Callable[[ModelShape, int, int | None], Need]


def plan_batch(
    parameters: ModelParameters, batch_size: int, need: Callable[[ModelShape, int, int], Need], fix: str = ""
) -> int:
    """The sequences of a pass that fit: ``batch_size``, or a half, a quarter and so on of it.

    Args:
        parameters: of the stage.
        batch_size: sequences of a pass, if memory allows it.
        need: from the model's shape, the bytes of a weight and the sequences of a pass.
        fix: as for ``check_need``.

    Raises:
        InputError: if one sequence does not fit.
    """
    size = batch_size

    def choose(shape: ModelShape, itemsize: int, free: int | None) -> Need:
        nonlocal size
        size, planned = fitting_batch(batch_size, partial(need, shape, itemsize), free)
        return planned

    plan_stage(parameters, choose, fix)
    return size


def plan_stage(parameters: ModelParameters, choose: Choice, fix: str = "") -> None:
    """Choose how a stage does its work in the memory of its device, log it, and refuse the stage if there is no way.

    A model that cannot be built from its configuration, or has no prunable layers, is not planned.

    Args:
        parameters: of the stage.
        choose: the need.
        fix: as for ``check_need``.

    Raises:
        InputError: names the stage, its need, the device's memory and the fix.
    """
    model = model_without_weights(find_model(parameters.model), parameters.trust_remote_code)
    if model is None or known_shape(model) is None:
        logger.warning("The memory of this stage is not planned: the shape of the model is not known.")
        return
    need, free = _planned(model, parameters, choose, fix)
    log_ways(need, free)
    _record(need)


def check_stage_memory(model: PreTrainedModel, parameters: ModelParameters, choose: Choice, fix: str = "") -> None:
    """Refuse a stage of a run that does not fit this machine's device; a stage on the pool checks its own.

    Args:
        model: without its weights.
        parameters: of the run.
        choose: the need.
        fix: as for ``check_need``.

    Raises:
        InputError: names the stage, its need, the device's memory and the fix.
    """
    if known_shape(model) is not None and not uses_deployments(parameters):
        _planned(model, parameters, choose, fix)


def check_batch(
    model: PreTrainedModel, parameters: ModelParameters, need: Callable[[ModelShape, int, int], Need], fix: str = ""
) -> None:
    """Refuse a stage of a run for which one sequence does not fit: what ``plan_batch`` is for the stage itself.

    Args:
        model: without its weights.
        parameters: of the run.
        need: as for ``plan_batch``.
        fix: as for ``check_need``.

    Raises:
        InputError: names the stage, its need, the device's memory and the fix.
    """
    check_stage_memory(model, parameters, lambda shape, itemsize, _: need(shape, itemsize, 1), fix)


def _planned(model: PreTrainedModel, parameters: ModelParameters, choose: Choice, fix: str) -> tuple[Need, int | None]:
    """The need on each device, and what is free on the one that has least."""
    devices = resolve_devices(parameters.device)
    free = least_room({device: held_bytes(device) for device in devices})
    if parameters.device == DISK:
        shape = shape_of_resident(model)
    else:
        shape = shape_of_shard(model, placement_on(parameters.model, model, devices))
    need = choose(shape, DTYPES[precision_of(parameters).dtype].itemsize, free)
    check_need(need, devices[0], free, parameters.model, fix)
    return need, free


def _record(need: Need) -> None:
    """Log the plan to the stage's MLflow run."""
    stage = current_stage_run()
    if stage is None:
        return
    with unless_unreachable("the plan of memory"):
        stage.run.log_metrics({"planned_memory_bytes": float(need.total)})
        if need.ways:
            stage.run.log_tags({"memory_saved_by": ", ".join(need.ways)})
