"""A stage: a function that writes files, run as a cached Prefect task."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, TypeVar

from prefect import Task

from optishear.parameters.base import Parameters
from tasks.engine.deployments import deployment_arguments, finish_deployment
from tasks.engine.disk import check_stage_disk
from tasks.engine.model_cache import release_failed, release_model
from tasks.engine.placement import deployment_of, pool_of, uses_deployments
from tasks.engine.precision import with_dtype
from tasks.engine.retries import RETRIES, SECONDS_BEFORE_RETRY, retry_condition
from tasks.engine.stored_results import SERIALIZER
from tasks.engine.timetable import expectation, time_left, timed_stage
from tasks.engine.titles import stage_title
from tasks.store import artifacts as store
from tasks.store.artifacts import Artifact, Reference, Request
from tasks.store.keys import chosen, content_key
from tasks.tracking.stage_runs import running_reference, stage_run, system_metrics

Group = TypeVar("Group", bound=Parameters)
Inputs = ParamSpec("Inputs")
logger = logging.getLogger("optishear.stages")
# Flows may call stages from several threads. Loading a model sets PyTorch's default dtype for the whole process, and
# two models might not fit into its memory, so that within one process one stage computes at a time.
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Stage(Generic[Group, Inputs]):
    """A stage of the pipeline. Calling it inside a flow runs its Prefect task, unless the store has its artifact.

    Attributes:
        name: the stage's name, part of the key.
        version: raised whenever the stage gives another result for the same input; part of the key.
        parameters: names of the parameters that change its result; only these are in the key.
        inputs: digests of what it reads, from the same arguments; part of the key.
        write: writes the artifact's files to the folder that it is given first. One that goes on where a killed one was
            returns the seconds that the killed one took.
        label: name of a run of it, where one flow has several.
        after: called once the artifact of a request is stored, to remove what a killed stage would go on from.
        scores: numbers of an artifact that its MLflow run shows.
        disk: bytes that it writes to the home folder, where these are many.
        on_gpu: for a stage that uses a model, and so needs a GPU, the parameters that its deployment takes; it is named
            after the stage.
        needs_gpu: whether a run of such a stage needs one.
    """

    name: str
    version: int
    parameters: tuple[str, ...]
    inputs: Callable[Concatenate[Group, Inputs], dict[str, str]]
    write: Callable[Concatenate[Path, Group, Inputs], float | None]
    label: str = ""
    after: Callable[[Request], None] = lambda _: None
    scores: Callable[[Artifact], Mapping[str, float | None]] = lambda _: {}
    disk: Callable[[Group], int] = lambda _: 0
    on_gpu: type[Parameters] | None = None
    needs_gpu: Callable[[Group], bool] = lambda _: True

    def labelled(self, label: str) -> "Stage[Group, Inputs]":
        """The same stage under another name in the Prefect UI."""
        return replace(self, label=label)

    def request(self, parameters: Group, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Request:
        """The request of a call, with its key; nothing is computed."""
        parameters = self._settled(parameters)
        matter = chosen(parameters, self.parameters)
        inputs = self.inputs(parameters, *args, **kwargs)
        key = content_key(self.name, self.version, matter, inputs)
        return Request(self.name, self.version, key, matter, inputs)

    def find(self, parameters: Group, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Artifact | None:
        """The artifact; ``None`` if it is not in the store."""
        request = self.request(parameters, *args, **kwargs)
        return store.find(request.stage, request.key)

    def make(self, parameters: Group, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Artifact:
        """The artifact, from the store or computed, without Prefect."""
        parameters = self._settled(parameters)

        def write(outputs: Path) -> float | None:
            check_stage_disk(self.name, self.disk(parameters))
            try:
                with _one_at_a_time, system_metrics():
                    if not self._on_gpu(parameters):
                        release_model()  # of the stage before; this one uses none
                    return self.write(outputs, parameters, *args, **kwargs)
            except BaseException as error:
                # A failed stage may have left the shared model half-changed.
                release_failed(error)
                raise

        request = self.request(parameters, *args, **kwargs)
        artifact = store.make_once(request, write)
        self.after(request)
        return artifact

    def make_on_gpu(self, parameters: Group, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Artifact:
        """The artifact, computed by the stage's deployment unless another run has stored it meanwhile."""
        assert self.on_gpu is not None
        parameters = self._settled(parameters)
        request = self.request(parameters, *args, **kwargs)
        bound = signature(self.write).bind(None, parameters, *args, **kwargs).arguments
        arguments = {name: value for name, value in bound.items() if name not in ("outputs", "parameters")}
        finish_deployment(
            deployment_of(self.name, parameters),
            deployment_arguments(parameters, self.on_gpu, {**arguments, "run": running_reference()}),
            stage_title(self.label or self.name, self.name, parameters),
            request.key,
            pool=pool_of(parameters),
        )
        return Reference(stage=request.stage, key=request.key).artifact()

    def __call__(self, parameters: Group, *args: Inputs.args, **kwargs: Inputs.kwargs) -> Artifact:
        """The artifact, through Prefect; computed again if the store has lost the files of a known key."""
        parameters = self._settled(parameters)
        request = self.request(parameters, *args, **kwargs)
        stored = store.find(request.stage, request.key)
        name = self.label or self.name
        task = Task(
            self.make_on_gpu
            if stored is None and self._on_gpu(parameters) and uses_deployments(parameters)
            else self.make,
            name=self.name,
            task_run_name=stage_title(name, self.name, parameters),
            version=str(self.version),
            cache_key_fn=lambda *_: request.key,
            refresh_cache=stored is None,
            persist_result=True,
            result_serializer=SERIALIZER,
            retries=RETRIES,
            retry_delay_seconds=SECONDS_BEFORE_RETRY,
            retry_condition_fn=retry_condition,
        )
        started = f"started{expectation(name)}"
        logger.info("%s: %s", name, "nothing to compute, kept from an earlier run" if stored else started)
        with timed_stage(name, cached=stored is not None), stage_run(name, request) as run:
            task(parameters, *args, **kwargs)
            artifact = store.find(request.stage, request.key)
            if artifact is None:
                raise RuntimeError(
                    f"The artifact {request.key} was made and is gone again; is another process cleaning?"
                )
            artifact = artifact.model_copy(update={"cached": stored is not None})
            if run is not None:
                run.finish(artifact, self.scores(artifact))
        if not artifact.cached:
            logger.info("%s: done in %.1f s%s", name, artifact.seconds, time_left())
        return artifact

    def _settled(self, parameters: Group) -> Group:
        """The parameters with a plain dtype, if the dtype is part of the key."""
        return with_dtype(parameters, on_gpu=self._on_gpu(parameters)) if "dtype" in self.parameters else parameters

    def _on_gpu(self, parameters: Group) -> bool:
        return self.on_gpu is not None and self.needs_gpu(parameters)
