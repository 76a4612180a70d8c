"""Where a stage runs that needs a GPU: in this process, or as a deployment on the work pool ``gpu``."""

from functools import cache

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from optishear.errors import InputError
from optishear.inference.footprint import device_name
from optishear.models.load import resolve_device
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from tasks.engine.parameters import PlacementParameters

GPU_POOL = "gpu"
CPU_POOL = "cpu"


def uses_deployments(parameters: Parameters) -> bool:
    """Whether stages that need a GPU run on the pool; ``auto`` asks the server once in a process."""
    if not isinstance(parameters, PlacementParameters):
        return False
    return parameters.placement == "deployments" or (parameters.placement == "auto" and has_gpu_pool())


def check_placement(parameters: PlacementParameters) -> None:
    """Refuse the placement ``deployments`` without the work pool ``gpu``.

    Raises:
        InputError: if the pool does not exist, with the command that creates it.
    """
    if parameters.placement == "deployments" and not has_gpu_pool():
        server = PREFECT_API_URL.value()
        missing = f"the Prefect server {server} has no work pool" if server else "no Prefect server is set for the pool"
        raise InputError(
            f"The placement is 'deployments', but {missing} {GPU_POOL!r}; set PREFECT_API_URL and run: optishear deploy"
        )


def has_gpu_pool() -> bool:
    """Whether a server is set, by ``PREFECT_API_URL`` or a profile, and has the pool."""
    server = PREFECT_API_URL.value()
    return bool(server) and _has_gpu_pool(server)  # without one, a client would start the embedded server to ask


@cache
def _has_gpu_pool(_server: str) -> bool:
    """Asked once: a later stage must not wait for a server that is away by then."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(GPU_POOL)
        except ObjectNotFound:
            return False
    return True


def measured_on(parameters: ModelParameters, stage: str) -> str:
    """The device of a measurement, as part of its key: ``cpu``, or the name of the GPU.

    For a stage on the pool it is the pool and the parameter ``device``; the GPUs of a pool are assumed to be alike. The
    flow and the worker must compute the same key, but the flow does not see the worker's GPU. A worker runs the stage's
    own flow, by which it is recognized.
    """
    if parameters.device.partition(":")[0] == "cpu":
        return "cpu"
    if computed_on_pool(parameters, stage):
        return f"{parameters.device} on the pool {GPU_POOL}"
    return device_name(resolve_device(parameters.device))


def computed_on_pool(parameters: ModelParameters, stage: str) -> bool:
    """Whether a stage that needs a GPU is computed by a worker of the pool: this process or another one."""
    return uses_deployments(parameters) or flow_run.flow_name == f"{stage}-stage"
