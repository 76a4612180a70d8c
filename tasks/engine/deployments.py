"""A stage as a run of its own deployment: its arguments, and the outcome of the run."""

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.runtime import flow_run as parent
from pydantic import BaseModel

from optishear.errors import IncompleteError, InputError
from optishear.parameters.base import Parameters
from optishear.pattern import Pattern
from tasks.engine.handover import completed_in, time_of_next
from tasks.engine.parameter_groups import part, with_absolute_paths
from tasks.engine.parameters import PlacementParameters
from tasks.engine.retries import RETRIES
from tasks.engine.titles import current_tags
from tasks.store.artifacts import Artifact

_SECONDS_BETWEEN_POLLS = 2.0
# "Flow run encountered an exception: KeyError: 'model'"; a task leaves out the first colon.
_FAILURE = re.compile(r"(Flow|Task) run encountered an exception:? (?P<kind>[\w.]+): (?P<reason>.*)", re.DOTALL)
logger = logging.getLogger("optishear.stages")


class UnfinishedRunError(IncompleteError):
    """A run of a deployment did not complete; its message gives the reason in one sentence."""


def finish_deployment(
    deployment: str, parameters: Mapping[str, Any], label: str, key: str, *, pool: str | None = None
) -> None:
    """Run a deployment to its end, from within a task.

    A repeated call within one try of the parent finds the same run again, so that a parent that lost its server for
    a moment does not start it twice; a retry of the parent (its run count is higher then) starts a new one. A run
    that crashed, because its worker or machine was lost, is restarted.

    Args:
        deployment: as ``FLOW/DEPLOYMENT``.
        parameters: of its flow, as JSON values.
        label: the run's name.
        key: the key of the artifact to compute.
        pool: the work pool, where one process of it computes several runs (``tasks.engine.stage_process``).

    Raises:
        InputError: if it failed because of bad input.
        UnfinishedRunError: if it failed for another reason, was cancelled, or crashed each time.
    """
    state = None
    for again in range(RETRIES + 1):
        start = time_of_next(pool) if pool is not None and not again else None
        state = _end_of(deployment, parameters, label, f"{parent.id}:{key}:{parent.run_count}:{again}", start)
        if state.is_completed():
            if pool is not None:
                completed_in(pool)
            return
        if not state.is_crashed():
            break
        logger.warning("%s crashed%s", label, "; it is started again" if again < RETRIES else "")
    kind, reason = failure(state)
    if kind == InputError.__name__:
        raise InputError(reason)
    raise UnfinishedRunError(f"The run {label!r} of {deployment!r} failed: {reason}")


def _end_of(
    deployment: str, parameters: Mapping[str, Any], label: str, idempotency_key: str, start: datetime | None
) -> State[Any]:
    run = run_deployment(
        deployment,
        scheduled_time=start,
        parameters=dict(parameters),
        flow_run_name=label,
        tags=current_tags(),
        poll_interval=_SECONDS_BETWEEN_POLLS,
        idempotency_key=idempotency_key,
    )
    assert isinstance(run, FlowRun)  # outside of an event loop it is
    assert run.state is not None
    return run.state


def failure(state: State[Any] | None) -> tuple[str, str]:
    """Why a run did not complete: the exception's name, where there was one, and a sentence without its beginning."""
    message = (state.message if state else None) or ""
    match = _FAILURE.fullmatch(message)
    if match is not None:
        kind = match["kind"].rsplit(".", 1)[-1]
        plain = kind in (InputError.__name__, UnfinishedRunError.__name__)
        return kind, match["reason"] if plain else f"{kind}: {match['reason']}"
    if state is not None and state.is_failed() and message:
        return InputError.__name__, message  # a flow gives the sentence of bad input as it is
    name = state.name.lower() if state and state.name else "in an unknown state"
    return "", f"it ended {name}" + (f" ({message})" if message else "")


def deployment_arguments(
    parameters: Parameters, group: type[Parameters], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """A stage's arguments as JSON values: parameters, models of pydantic and mappings to them, references to artifacts,
    patterns.

    Args:
        parameters: of the flow; those of ``group`` are passed on.
        group: what the deployment takes.
        arguments: the further arguments, by name; those that are ``None`` are left out.
    """
    own = with_absolute_paths(part(parameters, group))
    if isinstance(own, PlacementParameters):
        own = own.model_copy(update={"placement": "in_process"})  # it is where it should be
    values: dict[str, Any] = {"parameters": own.model_dump(mode="json")}
    for name, value in arguments.items():
        if isinstance(value, Artifact):
            values[name] = value.reference.model_dump()
        elif isinstance(value, BaseModel):
            values[name] = value.model_dump(mode="json")
        elif isinstance(value, Mapping):
            values[name] = {key: member.model_dump(mode="json") for key, member in value.items()}
        elif isinstance(value, Pattern):
            values[name] = str(value)
        elif value is not None:
            values[name] = value
    return values
