"""Names and tags of runs in Prefect: what runs, on which model, at which sparsity, in which night."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.context import TagsContext
from prefect.runtime import flow_run

from optishear.errors import first_line
from optishear.parameters.base import Parameters
from optishear.pattern import Pattern
from optishear.report.formatting import SPACE, percent
from tasks.store.artifacts import artifacts_folder
from tasks.store.processes import own_process

_SEPARATOR = " · "
logger = logging.getLogger("optishear.stages")
# Model and sparsity of the running flow; and the name that its parent gave to the run of one stage.
_subject: ContextVar[tuple[str, ...]] = ContextVar("subject", default=())
_given: ContextVar[str] = ContextVar("given", default="")


def title(*parts: str) -> str:
    """The parts of a run's name that are not empty, such as ``search · SmolLM2-135M · 50 %``."""
    return _SEPARATOR.join(filter(None, parts))


def model_title(model: str) -> str:
    """The last part of a model's name: ``SmolLM2-135M`` of ``HuggingFaceTB/SmolLM2-135M``."""
    return Path(model).name.removeprefix("package:")


def sparsity_title(sparsity: Pattern) -> str:
    """``50 %`` or ``2:4``."""
    return str(sparsity) if sparsity.is_structured else percent(sparsity.fraction).replace(SPACE, " ")


def subject_of(parameters: Parameters) -> tuple[str, ...]:
    """Model and sparsity of a flow, as far as its parameters have them.

    The default sparsity beside a recipe is left out, since the recipe may be for another one.
    """
    model, sparsity = getattr(parameters, "model", None), getattr(parameters, "sparsity", None)
    names = [model_title(model)] if isinstance(model, str) else []
    by_recipe = hasattr(parameters, "recipe") and "sparsity" not in parameters.model_fields_set
    if isinstance(sparsity, Pattern) and not by_recipe:
        names.append(sparsity_title(sparsity))
    return tuple(names)


def stage_title(label: str, stage: str, parameters: Parameters) -> str:
    """The name of a run of a stage: ``evaluate · wanda · SmolLM2-135M · 50 %``.

    Args:
        label: the stage's label in its flow.
        stage: the stage's name.
        parameters: of the stage. The model of a checkpoint in the store is named as the flow's.
    """
    if _given.get():
        return _given.get()
    detail = label.removeprefix(f"{stage} ") if label != stage else ""
    own, flows = subject_of(parameters), _subject.get()
    model = getattr(parameters, "model", None)
    stored = isinstance(model, str) and Path(model).is_relative_to(artifacts_folder())
    subject = flows if stored or (len(own) < len(flows) and own == flows[: len(own)]) else own
    return title(stage, detail, *subject)


def flow_title(name: str, parameters: Parameters) -> str:
    """The name of the current flow run: ``pipeline · 2026-11-26 · SmolLM2-135M · 50 %``, or the one that it was given.

    Args:
        name: the flow's name.
        parameters: of the flow. A flow with a plan is named by it.
    """
    given = flow_run.name
    if _is_title(given):
        return str(given)
    plan = getattr(parameters, "plan", None)
    return title(plan.stem if isinstance(plan, Path) else name, run_date(), *subject_of(parameters))


def run_date() -> str:
    """The UTC date for which the current flow run was scheduled, such as ``2026-11-26``."""
    began = flow_run.scheduled_start_time or datetime.now(UTC)
    return f"{began:%Y-%m-%d}"


@contextmanager
def about(parameters: Parameters) -> Iterator[None]:
    """Tag the current flow run with its model and sparsity, and the runs that it starts with all its tags."""
    subject = subject_of(parameters)
    plan = getattr(parameters, "plan", None)
    token = _subject.set(subject)
    try:
        with _tagged([*subject, *([f"night {run_date()}"] if plan is not None else [])]):
            yield
    finally:
        _subject.reset(token)


@contextmanager
def of_stage() -> Iterator[None]:
    """Let the task of a stage have the name that the stage's flow run was given."""
    name = flow_run.name
    token = _given.set(str(name) if _is_title(name) else "")
    try:
        with _tagged([]):
            yield
    finally:
        _given.reset(token)


def current_tags() -> list[str]:
    """The tags for a run that the current one starts, on a worker: it is not one of this process."""
    own = own_process()
    return sorted(TagsContext.get().current_tags - ({own.record.tag} if own is not None else set()))


@contextmanager
def _tagged(new: list[str]) -> Iterator[None]:
    present = set(flow_run.tags or [])
    everything = {*present, *new}
    if flow_run.id is not None and everything != present:
        try:
            with get_client(sync_client=True) as client:
                client.update_flow_run(flow_run.id, tags=sorted(everything))
        except Exception as error:  # a server that is away for a moment must not end a night's run
            logger.warning("The run cannot be tagged in Prefect: %s", first_line(error))
    with tags(*everything):
        yield


def _is_title(name: str | None) -> bool:
    """Whether a run's name is not one that Prefect made up, such as ``denim-auk``."""
    return name is not None and re.fullmatch(r"[a-z]+-[a-z]+", name) is None
