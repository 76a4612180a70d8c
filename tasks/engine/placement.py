"""Where a stage runs that needs a GPU: in this process, or as a deployment on the work pool ``gpu``."""

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from optishear.errors import InputError
from optishear.parameters.base import Parameters
from tasks.engine.parameters import PlacementParameters

GPU_POOL = "gpu"
CPU_POOL = "cpu"


def uses_deployments(parameters: Parameters) -> bool:
    """Whether stages that need a GPU run on the pool; ``auto`` asks the server each time."""
    if not isinstance(parameters, PlacementParameters):
        return False
    return parameters.placement == "deployments" or (parameters.placement == "auto" and has_gpu_pool())


def check_placement(parameters: PlacementParameters) -> None:
    """Whether the pool is there that is asked for.

    Raises:
        InputError: if it is not.
    """
    if parameters.placement == "deployments" and not has_gpu_pool():
        server = PREFECT_API_URL.value()
        missing = f"the Prefect server {server} has no work pool" if server else "no Prefect server is set for the pool"
        raise InputError(
            f"The placement is 'deployments', but {missing} {GPU_POOL!r}; set PREFECT_API_URL and run: optishear deploy"
        )


def has_gpu_pool() -> bool:
    """Whether a server is set, by ``PREFECT_API_URL`` or a profile, and has the pool."""
    if not PREFECT_API_URL.value():
        return False  # a client would start the embedded server to ask
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(GPU_POOL)
        except ObjectNotFound:
            return False
    return True
