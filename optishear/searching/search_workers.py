"""The workers of one search, from its parameters."""

from contextlib import AbstractContextManager, nullcontext

import torch
from transformers.modeling_utils import PreTrainedModel

from optishear.errors import InputError
from optishear.memory.search_plan import SearchMemory
from optishear.models.devices import devices_of, worker_devices
from optishear.models.selection import Selection
from optishear.pattern import Pattern
from optishear.searching.population import Population
from optishear.searching.portable_model import PortableModel
from optishear.searching.ray_workers import check_workers, ray_population
from optishear.searching.worker_setup import Measuring, WorkerSetup
from optishear.statistics.statistics import Statistics
from optishear.workers import Workers


class SearchWorkers:
    """The workers of a search, before they are started."""

    def __init__(self, workers: Workers, model: PreTrainedModel) -> None:
        """Check that they can be had.

        Args:
            workers: the parameter.
            model: of the search, with dense weights.

        Raises:
            InputError: if Ray is not installed, there are too few GPUs, or the model is on several devices.
        """
        self._workers = workers
        self._model = model
        devices = devices_of(model)
        if workers and len(devices) > 1:
            raise InputError(
                f"Workers hold the model on one device each, but it is on {len(devices)}; leave out workers "
                f"{str(workers)!r}, or give a device such as cuda."
            )
        self._device = devices[0]
        check_workers(workers, self._device)

    @property
    def on_own_device(self) -> int:
        """Number of workers that share the memory of the process's device."""
        return workers_on(self._device, self._workers)

    def started(
        self,
        measuring: Measuring,
        statistics: Statistics,
        pattern: Pattern,
        selection: Selection,
        memory: SearchMemory,
    ) -> AbstractContextManager[Population | None]:
        """Start the workers for the context; ``None`` without.

        Args:
            measuring: how divergences are measured.
            statistics: of the dense model.
            pattern: the target.
            selection: which layers are pruned.
            memory: how the search uses its device; each worker uses its own like this.
        """
        if not self._workers:
            return nullcontext()
        setup = WorkerSetup(
            PortableModel.of(self._model),
            measuring,
            statistics,
            pattern,
            selection,
            memory.rank_bytes,
            memory.copy_on_host,
            torch.get_num_threads(),
        )
        return ray_population(self._workers, setup, self._device)


def workers_on(device: torch.device, workers: Workers) -> int:
    """Number of workers that share a device with the process of a search; those of a cluster are not counted.

    Args:
        device: of the process.
        workers: of the search.

    Raises:
        InputError: if there are too few GPUs.
    """
    return worker_devices(device, workers.count).count(_numbered(device))


def _numbered(device: torch.device) -> torch.device:
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device
