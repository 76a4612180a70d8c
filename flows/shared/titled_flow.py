"""Flows with names and tags that tell what runs, and with one sentence where a run cannot succeed."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, flow
from prefect.runtime import flow_run
from prefect.states import Failed

from flows.parameters.output import OutputParameters
from flows.shared.embedded_server import use_own_server
from flows.shared.environment import make_home
from optishear.disk import disk_error, folder_gone, identity
from optishear.errors import IncompleteError, InputError
from optishear.home import home_folder
from optishear.parameters.base import Parameters
from tasks.engine.model_cache import release_after_flow
from tasks.engine.retries import unanswered
from tasks.engine.titles import about, flow_title, of_stage

Inputs = ParamSpec("Inputs")
Result = TypeVar("Result")
# Errors whose message says everything; all others are faults, of which the traceback is wanted.
_SENTENCES = (InputError, IncompleteError)

use_own_server()


def titled_flow(name: str) -> Callable[[Callable[Inputs, Result]], Flow[Inputs, Result]]:
    """Make a function over parameters a flow, whose runs are named and tagged by plan, date, model and sparsity.

    A run that ends with an ``InputError`` or ``IncompleteError`` has the state Failed with its sentence as message, and
    no traceback in its log. The caller in this process gets the error.

    Args:
        name: the flow's name.
    """

    def decorate(function: Callable[Inputs, Result]) -> Flow[Inputs, Result]:
        def run_name() -> str:
            return flow_title(name, flow_run.parameters["parameters"])

        return flow(name=name, flow_run_name=run_name)(_in_sentences(_naming_servers(function), about))

    return decorate


def stage_flow(stage: str) -> Callable[[Callable[Inputs, Result]], Flow[Inputs, Result]]:
    """Make a function over parameters the flow of one stage, whose runs are named by the flow that starts them.

    Args:
        stage: the stage's name.
    """

    def decorate(function: Callable[Inputs, Result]) -> Flow[Inputs, Result]:
        return flow(name=f"{stage}-stage")(_in_sentences(function, lambda _: of_stage()))

    return decorate


def _in_sentences(
    function: Callable[Inputs, Result], context: Callable[[Parameters], AbstractContextManager[None]]
) -> Callable[Inputs, Result]:
    @wraps(function)
    def run(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Result:
        parameters = args[0] if args else kwargs["parameters"]
        assert isinstance(parameters, Parameters)
        try:
            make_home()  # a worker has no command line that would
            with context(parameters):
                return function(*args, **kwargs)
        except _SENTENCES as error:
            # Prefect takes a returned state as the run's, and raises the error that it holds.
            return cast(Result, Failed(data=error, message=str(error)))
        finally:
            # A process may run several flows, and holds no memory between them.
            release_after_flow()

    return run


def _naming_servers(function: Callable[Inputs, Result]) -> Callable[Inputs, Result]:
    """Let a disk that is full or has gone, and a server that does not answer, be one sentence.

    Not for the flow of one stage: the flow that starts it takes a state that is only a sentence for bad input.
    """

    @wraps(function)
    def run(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Result:
        with disks_in_sentences(args[0] if args else kwargs.get("parameters")):
            try:
                return function(*args, **kwargs)
            except Exception as error:
                sentence = unanswered(error)
                if sentence is None:
                    raise
                raise IncompleteError(sentence) from error

    return run


@contextmanager
def disks_in_sentences(parameters: object) -> Iterator[None]:
    """Let a failure of the body behind which is a disk be one sentence.

    Args:
        parameters: of the flow; its output folder is looked at beside the home folder, if it is there already.

    Raises:
        InputError: names the folder, what is free and the fix.
    """
    outputs = [parameters.output] if isinstance(parameters, OutputParameters) else []
    folders = [folder for folder in (home_folder(), *outputs) if folder.exists()]
    home = identity(home_folder())
    try:
        yield
    except Exception as error:
        # What is read there is missed first. A lock or a database may have made the folder again.
        if home is not None and identity(home_folder()) != home:
            raise folder_gone(home_folder()) from error
        if isinstance(error, InputError):
            raise
        sentence = disk_error(error, *folders)
        if sentence is None:
            raise
        raise sentence from error


class _WithoutTracebacks(logging.Filter):
    """Shortens the log records of errors whose message says everything to that message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, without its traceback where its error is a sentence."""
        error: Any = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        sentence = str(error) if isinstance(error, _SENTENCES) else error and unanswered(error)
        if sentence:
            record.msg, record.args, record.exc_info, record.exc_text = sentence, (), None, None
        return True


# What Prefect's engine logs for a run.
for _name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):
    logging.getLogger(_name).addFilter(_WithoutTracebacks())
