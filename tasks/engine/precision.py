"""The dtype in which a stage computes, chosen before its key is computed, since it is part of the key.

``dtype: auto`` depends on the device that computes. For a stage in this process that is this process's device. For a
stage on the work pool it is a worker's device, which the flow does not see. So the deployment ``precision`` runs once
and stores the pool's dtype as an artifact for all later runs. The flow passes this dtype to each stage: the key is the
same on both sides, and all stages of a run have one precision. The workers of a pool are assumed to be alike. A worker
that emulates the dtype logs a warning.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from transformers.modeling_utils import PreTrainedModel

from optishear.json_file import write_json
from optishear.models.devices import DISK, resolve_device, resolve_devices
from optishear.models.finite import check_float16
from optishear.models.memory import check_memory
from optishear.models.precision import AUTO, Precision, announce, choose_precision, given_precision
from optishear.models.shards import weights_by_place
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from tasks.engine.deployments import deployment_arguments, finish_deployment
from tasks.engine.placement import deployment_of, pool_of, uses_deployments
from tasks.store.artifacts import Artifact, Reference, Request, find, make_once
from tasks.store.keys import content_key

NAME = "precision"
PRECISION = "precision.json"
_VERSION = 1
Group = TypeVar("Group", bound=Parameters)


def precision_of(parameters: ModelParameters) -> Precision:
    """The dtype of the stages of a run, and the reason; if GPU stages run on the pool, the dtype of these.

    Raises:
        InputError: if the device is not there.
    """
    if parameters.dtype == AUTO and uses_deployments(parameters):
        return _precision_of_pool(parameters)
    if parameters.dtype != AUTO:
        return given_precision(parameters.dtype)
    return choose_precision(AUTO, resolve_device(parameters.device))


def with_dtype(parameters: Group, *, on_gpu: bool) -> Group:
    """Parameters with a plain dtype in place of ``auto``, for a stage.

    Args:
        parameters: of the stage.
        on_gpu: whether the stage needs a GPU, and so may run on the pool.

    Raises:
        InputError: if the device is not there.
    """
    if not isinstance(parameters, ModelParameters) or parameters.dtype != AUTO:
        return parameters
    if on_gpu and uses_deployments(parameters):
        precision = _precision_of_pool(parameters)
    else:
        precision = choose_precision(AUTO, resolve_device(parameters.device))
        # Announced here, since the parameters returned have a plain dtype without a reason.
        announce(precision)
    return parameters.model_copy(update={"dtype": precision.dtype})


def check_device(parameters: ModelParameters) -> None:
    """Refuse a device that this process does not have; on the pool the worker has the devices.

    Raises:
        InputError: names the device.
    """
    if not uses_deployments(parameters):
        resolve_device(parameters.device)


def check_precision(model: PreTrainedModel, parameters: ModelParameters) -> None:
    """Refuse a dtype that the family cannot use, and weights that do not fit the memory of this machine.

    Raises:
        InputError: names the model.
    """
    check_float16(parameters.model, model.config, parameters.dtype)
    # On the pool the worker has the memory; of a model on disk a block is in memory.
    if not uses_deployments(parameters) and parameters.device != DISK:
        weights = weights_by_place(parameters.model, model, resolve_devices(parameters.device))
        check_memory(parameters.model, weights, precision_of(parameters).dtype)


def make_precision(parameters: ModelParameters) -> Artifact:
    """The dtype of ``auto`` on this worker's device, stored for the whole pool."""

    def write(outputs: Path) -> None:
        write_json(outputs / PRECISION, asdict(choose_precision(AUTO, resolve_device(parameters.device))))

    return make_once(_request(parameters), write)


def _precision_of_pool(parameters: ModelParameters) -> Precision:
    request = _request(parameters)
    if find(request.stage, request.key) is None:
        arguments = deployment_arguments(parameters, ModelParameters, {})
        finish_deployment(deployment_of(NAME, parameters), arguments, NAME, request.key, pool=pool_of(parameters))
    answer = Reference(stage=request.stage, key=request.key).artifact()
    precision = Precision(**answer.read_json(PRECISION))
    announce(precision)
    return precision


def _request(parameters: ModelParameters) -> Request:
    matter, inputs = {"device": parameters.device}, {"pool": pool_of(parameters)}
    return Request(NAME, _VERSION, content_key(NAME, _VERSION, matter, inputs), matter, inputs)
