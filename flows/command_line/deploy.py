"""The command ``optishear deploy``: work pools, their limits, deployments and the schedule, on a Prefect server."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click

from optishear.errors import InputError

_PREFECT_FILE = Path("prefect.yaml")
_PLAN = Path("configurations/nightly.yaml")
# A new server creates its database first.
_SECONDS_TO_START = 60.0
# In one answer of the server.
_MOST_DEPLOYMENTS = 200


@click.command()
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs of all workers; default: those of this machine.")
@click.option(
    "--notify",
    metavar="URL|BLOCK",
    help="Call this webhook, or this Prefect block with notifications, when a run fails, a champion is new, or a night "
    "has not begun.",
)
@click.option(
    "--night-by",
    metavar="HH:MM",
    help="The hour by which a night must have begun, in the time zone of its schedule; default: 30 minutes after it.",
)
def deploy(gpus: int | None, notify: str | None, night_by: str | None) -> None:
    """Create the deployments on the Prefect server of PREFECT_API_URL, and print the commands of the workers.

    Creates the work pools cpu, gpu and shard, limits gpu to one run per GPU, and creates or updates the deployments of
    prefect.yaml with the nightly schedule; shard gets a copy of those of gpu. Adds automations that mark runs of lost
    workers as crashed, so that they are started again, and with --notify automations that call someone. It may be
    repeated; calls of an earlier --notify stay until they are replaced. Run it in the repository's folder.

    \b
    Example:
      PREFECT_API_URL=http://127.0.0.1:4200/api optishear deploy --gpus 2 --notify https://example.org/hook
    """
    from flows.command_line import notifications
    from flows.command_line.automations import watch_runs
    from flows.shared.environment import make_home
    from flows.shared.nightly_plan import read_plan

    if not _PREFECT_FILE.is_file():
        raise InputError(f"There is no {str(_PREFECT_FILE)!r} here; run optishear deploy in the repository's folder.")
    if night_by is not None and notify is None:
        raise InputError("--night-by says when to call; give --notify with whom to call.")
    read_plan(_PLAN)
    make_home()
    count = gpus or _visible_gpus()
    delay = notifications.delay_until(night_by, _PREFECT_FILE) if night_by is not None else None
    url = _server()
    _make_pools(count)
    _make_deployments()
    copy_to_shard_pool()
    remove_former_deployments()
    watch_runs()
    if notify is not None:
        notifications.notify(notify, delay)
    click.echo("\n".join(["Deployed. Start the workers, each in this folder:", *worker_commands(url, count)]))
    click.echo(f"Or, on a machine for models that need all of its GPUs (device shard):\n{shard_worker_command(url)}")


def worker_commands(url: str, gpus: int) -> list[str]:
    """One worker for the cpu pool, which sees no GPU, and one for each GPU, which runs one job at a time."""
    # A flow of the cpu pool would otherwise take memory of the GPU that a stage of the gpu pool is planned for.
    commands = ["CUDA_VISIBLE_DEVICES= prefect worker start --pool cpu --name cpu"]
    commands += [
        f"CUDA_VISIBLE_DEVICES={gpu} prefect worker start --pool gpu --name gpu-{gpu} --limit 1" for gpu in range(gpus)
    ]
    return [f"PREFECT_API_URL={url} {command}" for command in commands]


def shard_worker_command(url: str) -> str:
    """A worker that sees all GPUs of its machine, and runs one job at a time."""
    return f"PREFECT_API_URL={url} prefect worker start --pool shard --name shard --limit 1"


def _visible_gpus() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _server() -> str:
    """The address of the server; waits up to a minute for a server that was just started.

    Raises:
        InputError: if none is set, or it does not answer.
    """
    from flows.shared.prefect_server import check_server

    url = check_server(_SECONDS_TO_START)
    if url is None:
        raise InputError(
            "No Prefect server is set; start one with prefect server start, and set PREFECT_API_URL, such as "
            "http://127.0.0.1:4200/api."
        )
    return url


def _make_pools(gpus: int) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    from tasks.engine.placement import CPU_POOL, GPU_POOL, SHARD_POOL

    with get_client(sync_client=True) as client:
        for name, limit in ((CPU_POOL, None), (GPU_POOL, gpus), (SHARD_POOL, None)):
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                template = ProcessWorker.get_default_base_job_template()
                client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
            if limit is not None:
                client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _make_deployments() -> None:
    """Create the deployments of ``prefect.yaml`` by Prefect's own command.

    Raises:
        InputError: if it fails, with its output.
    """
    from optishear.home import home_folder

    environment = {
        "OPTISHEAR_PYTHON": sys.executable,
        **os.environ,
        "OPTISHEAR_HOME": str(home_folder().absolute()),
        "PWD": str(Path.cwd()),
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(_PREFECT_FILE)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        output = " ".join((process.stderr or process.stdout).split())[-500:]
        raise InputError(f"prefect deploy failed: {output}")


def copy_to_shard_pool() -> None:
    """Copy the deployments of the pool ``gpu`` to the pool ``shard``, or update the copies."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    from tasks.engine.placement import GPU_POOL, SHARD_POOL, on_shard_pool

    of_gpu = WorkPoolFilter(name=WorkPoolFilterName(any_=[GPU_POOL]))
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments(work_pool_filter=of_gpu, limit=_MOST_DEPLOYMENTS):
            client.create_deployment(
                deployment.flow_id,
                name=on_shard_pool(deployment.name),
                description=deployment.description,
                work_pool_name=SHARD_POOL,
                job_variables=deployment.job_variables,
                pull_steps=deployment.pull_steps,
                entrypoint=deployment.entrypoint,
                path=deployment.path,
                parameters=deployment.parameters,
                parameter_openapi_schema=deployment.parameter_openapi_schema,
                tags=deployment.tags,
            )


def remove_former_deployments() -> None:
    """Delete the deployments of stages under their former names, which nothing calls any more."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    from tasks.store.former_stages import FORMER_STAGES

    with get_client(sync_client=True) as client:
        for stage in FORMER_STAGES.values():
            with suppress(ObjectNotFound):
                deployment = client.read_deployment_by_name(f"{stage.name}-stage/{stage.name}")
                client.delete_deployment(deployment.id)
