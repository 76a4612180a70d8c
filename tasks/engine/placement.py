"""Where a stage runs that needs a GPU: in this process, or as a deployment on the work pool ``gpu`` or ``shard``."""

from functools import cache

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from optishear.errors import InputError
from optishear.inference.footprint import device_name
from optishear.models.devices import SHARD, resolve_devices
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.parameters.search import SearchParameters
from tasks.engine.parameters import PlacementParameters

GPU_POOL = "gpu"
SHARD_POOL = "shard"
CPU_POOL = "cpu"


def pool_of(parameters: Parameters) -> str:
    """The work pool of stages that need a GPU: ``shard`` for those that use all GPUs of a machine, else ``gpu``."""
    in_shards = isinstance(parameters, ModelParameters) and parameters.device == SHARD
    shared = isinstance(parameters, RecoveryParameters) and parameters.recovery_gpus > 1
    population = isinstance(parameters, SearchParameters) and bool(parameters.workers)
    return SHARD_POOL if in_shards or shared or population else GPU_POOL


def deployment_of(stage: str, parameters: Parameters) -> str:
    """The deployment of a stage on its pool, as ``FLOW/DEPLOYMENT``."""
    return f"{stage}-stage/{on_shard_pool(stage) if pool_of(parameters) == SHARD_POOL else stage}"


def on_shard_pool(name: str) -> str:
    """The name of a deployment's copy on the pool ``shard``."""
    return f"{name}-{SHARD_POOL}"


def uses_deployments(parameters: Parameters) -> bool:
    """Whether stages that need a GPU run on their pool; ``auto`` asks the server once in a process."""
    if not isinstance(parameters, PlacementParameters):
        return False
    return parameters.placement == "deployments" or (parameters.placement == "auto" and has_pool(pool_of(parameters)))


def check_placement(parameters: PlacementParameters) -> None:
    """Refuse the placement ``deployments`` without the work pool.

    Raises:
        InputError: if the pool does not exist, with the command that creates it.
    """
    pool = pool_of(parameters)
    if parameters.placement == "deployments" and not has_pool(pool):
        server = PREFECT_API_URL.value()
        missing = f"the Prefect server {server} has no work pool" if server else "no Prefect server is set for the pool"
        raise InputError(
            f"The placement is 'deployments', but {missing} {pool!r}; set PREFECT_API_URL and run: optishear deploy"
        )


def has_pool(pool: str) -> bool:
    """Whether a server is set, by ``PREFECT_API_URL`` or a profile, and has the pool."""
    server = PREFECT_API_URL.value()
    return bool(server) and _has_pool(server, pool)  # without one, a client would start the embedded server to ask


@cache
def _has_pool(_server: str, pool: str) -> bool:
    """Asked once: a later stage must not wait for a server that is away by then."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
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
        return f"{parameters.device} on the pool {pool_of(parameters)}"
    return device_name(*resolve_devices(parameters.device))


def computed_on_pool(parameters: ModelParameters, stage: str) -> bool:
    """Whether a stage that needs a GPU is computed by a worker of the pool: this process or another one."""
    return uses_deployments(parameters) or flow_run.flow_name == f"{stage}-stage"
