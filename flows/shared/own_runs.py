"""The runs of a command belong to its process; those that killed commands have left are marked before."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import tags

from optishear.parameters.base import Parameters
from tasks.store.processes import recorded_process
from tasks.tracking.lost_runs import mark_lost_runs, prefect_server
from tasks.tracking.parameters import TrackingParameters


@contextmanager
def own_runs(command: str, parameters: Parameters) -> Iterator[None]:
    """Let the runs of the body belong to this process, and mark those of processes of this machine that have ended.

    Args:
        command: the name of the command.
        parameters: of its flow.
    """
    mark_lost_runs(parameters.tracking_uri if isinstance(parameters, TrackingParameters) else None)
    with recorded_process(command, prefect_server()) as record, tags(record.tag):
        yield
