"""Workers of a search as Ray actors, one for each GPU, or several on the CPU.

Ray is imported only here and only when workers are asked for. On one machine its processes listen on the loopback
address alone, with a token of their own, without dashboard and usage statistics.
"""

import importlib
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import torch

from optishear.errors import InputError, first_line
from optishear.extras import require
from optishear.models.devices import worker_devices
from optishear.searching.measuring import Measured, Work
from optishear.searching.patience import Patience
from optishear.searching.population import Population, WorkerLost
from optishear.searching.worker_setup import WorkerSetup
from optishear.units import format_seconds
from optishear.workers import Workers

logger = logging.getLogger("optishear.searching")

# Of Ray's shared memory beside the weights: tokens, statistics and results.
_FURTHER_BYTES = 256 * 2**20
# Where Ray puts its sockets, whose paths have a limit of 107 characters.
_SHORT_FOLDER = "/tmp"


class Actor:
    """What runs in the process of a worker."""

    def __init__(self, setup: WorkerSetup, device: str) -> None:
        """Load the model onto a device, as PyTorch names it there."""
        self._measurer = setup.measurer(device)

    def measure(self, work: Work) -> list[Measured]:
        """The results of the parts of one candidate."""
        return self._measurer.measure(work)


class RayWorker:
    """A worker whose measurements run in an actor.

    Attributes:
        name: in messages.
        actor: Ray's handle.
    """

    def __init__(self, name: str, actor: Any, patience: Patience) -> None:
        """Store the name, the handle, and how long the actor is waited for, which all workers share."""
        self.name = name
        self.actor = actor
        self._patience = patience
        self._has_answered = False

    def measure(self, work: Work) -> list[Measured]:
        """The results of the parts of one candidate, for which the actor is waited for.

        Raises:
            WorkerLost: if the actor, its process or its machine is gone, could not be started, or does not answer for
                so long that it hangs; then it is killed.
        """
        ray = importlib.import_module("ray")
        limit = self._patience.seconds(work, not self._has_answered)
        try:
            measured: list[Measured] = ray.get(self.actor.measure.remote(work), timeout=limit)
        except ray.exceptions.RayTaskError as error:
            self._has_answered = True
            raise error.cause from None
        except ray.exceptions.GetTimeoutError as error:
            # It may hold its device's memory, and what it answers later is not asked for.
            ray.kill(self.actor)
            raise WorkerLost(f"no answer in {format_seconds(limit)}, so its process was ended") from error
        except ray.exceptions.RayError as error:
            raise WorkerLost(_reason(error)) from error
        self._has_answered = True
        self._patience.learn(work, measured)
        return measured


def check_workers(workers: Workers, device: torch.device) -> None:
    """Refuse workers without Ray, or more of them than there are GPUs.

    Args:
        workers: of a search.
        device: of the search's own process.

    Raises:
        InputError: naming the package, or the number.
    """
    if workers:
        require(["ray"], f"The parameter workers {str(workers)!r}")
        worker_devices(device, workers.count)


@contextmanager
def ray_population(workers: Workers, setup: WorkerSetup, device: torch.device) -> Iterator[Population]:
    """Start the workers of a search, and stop them at the end.

    Args:
        workers: how many on this machine, or the address of a cluster.
        setup: of each.
        device: of the search's own process.

    Raises:
        InputError: if Ray is not installed, does not start or has too few GPUs.
    """
    check_workers(workers, device)
    on_gpu = device.type == "cuda"
    with ray_session(workers, setup.threads, setup.model.nbytes) as ray:
        share: dict[str, Any] = {"num_cpus": 0, "num_gpus": 1} if on_gpu else {"num_cpus": setup.threads}
        if workers.address:
            kind, each = ("GPU", 1) if on_gpu else ("CPU", setup.threads)
            count = int(ray.cluster_resources().get(kind, 0)) // each
            if not count:
                raise InputError(
                    f"The Ray cluster {workers.address!r} has too few {kind}s for a worker, which needs {each}; "
                    "add machines to it."
                )
            devices = ["cuda" if on_gpu else "cpu"] * count
        else:
            devices = [str(each) for each in worker_devices(device, workers.count)]
            share |= {"num_gpus": 0}  # a worker is told which GPU is its own
        stored = ray.put(setup)
        actor = ray.remote(Actor).options(max_restarts=0, **share)
        patience = Patience()
        started = [
            RayWorker(f"worker {number} of {len(devices)}", actor.remote(stored, place), patience)
            for number, place in enumerate(devices, 1)
        ]
        logger.info("%d workers measure the candidates: %s", len(started), ", ".join(devices))
        try:
            yield Population(started)
        finally:
            for worker in started:
                ray.kill(worker.actor)


@contextmanager
def ray_session(workers: Workers, threads: int, model_bytes: int) -> Iterator[Any]:
    """The module ``ray``, connected to the program's own session if there is one, to a cluster, or to a new session.

    Args:
        workers: how many are to run on this machine, or the address of the cluster.
        threads: of each worker.
        model_bytes: of the weights, for which there has to be shared memory.

    Raises:
        InputError: if Ray does not start.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        yield sys.modules["ray"]
        return
    local = not workers.address
    with _environment({"RAY_USAGE_STATS_ENABLED": "0", **(_local_settings() if local else {})}):
        ray = importlib.import_module("ray")
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        with TemporaryDirectory(prefix="ray-", dir=_SHORT_FOLDER, ignore_cleanup_errors=True) as folder:
            if local:
                options |= {
                    "num_cpus": max(1, workers.count * threads),
                    "num_gpus": 0,
                    "include_dashboard": False,
                    "object_store_memory": model_bytes + _FURTHER_BYTES,
                    "_temp_dir": folder,
                }
            _start(ray, workers.address, options)
            try:
                yield ray
            finally:
                ray.shutdown()


def _start(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Connect to a cluster, or start a session on this machine if there is no address.

    Ray gives its processes 30 seconds to start, which a busy machine may not do at first.

    Raises:
        InputError: if that fails.
    """
    for is_last in (True,) if address else (False, False, True):
        try:
            ray.init(address=address or "local", **options)
            return
        except Exception as error:  # of many types, from sockets to Ray's own
            ray.shutdown()
            reason = first_line(error)
            if is_last:
                place = f"The Ray cluster {address!r} cannot be reached" if address else "Ray does not start"
                raise InputError(f"{place}: {reason}; leave out workers.") from error
            logger.warning("Ray did not start (%s); it is started again", reason)


@cache
def _local_settings() -> dict[str, str]:
    """Variables of all sessions of this process on this machine; Ray reads some of them once, when it is imported.

    Raises:
        InputError: if it was imported before.
    """
    if "ray" in sys.modules:
        raise InputError(
            "Ray was imported before a search asked for workers, and would listen on all addresses of this machine; "
            "call ray.init before the search, or do not import Ray."
        )
    return {
        # Without clusters, Ray listens on the loopback address alone, on every system.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # An actor without a GPU of Ray's count still sees all of them.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the body and for the processes that it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _reason(error: Exception) -> str:
    """Why an actor is gone: the last line of Ray's report, of which the first says only that it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
