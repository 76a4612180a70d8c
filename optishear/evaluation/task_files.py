"""Load benchmark tasks by name, from lm-eval and from a folder of the user."""

import difflib
import functools
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from optishear.errors import InputError
from optishear.evaluation.suite import Suite, find_suite
from optishear.evaluation.task_index import check_task_files
from optishear.extras import require
from optishear.parameters.evaluation import EvaluationParameters

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

# Prefix of the user's task files that replace tasks of lm-eval.
LOCAL = "local_"


def suites_of(parameters: EvaluationParameters) -> list[Suite]:
    """The tasks of the evaluation: those of the suite, then those given by name, each list with its few-shot examples.

    A task of a suite is read from ``include_path`` if it has a task of this name, or of this name after ``local_``.

    Raises:
        InputError: if there is no such suite.
    """
    suites = []
    if parameters.suite is not None:
        suite = find_suite(parameters.suite)
        fewshot = suite.fewshot if parameters.fewshot is None else parameters.fewshot
        own = _own_names(parameters.include_path)
        names = [f"{LOCAL}{name}" if name not in own and f"{LOCAL}{name}" in own else name for name in suite.tasks]
        suites.append(Suite(description=suite.description, tasks=names, fewshot=fewshot))
    named = [name for name in parameters.tasks if not any(name in suite.tasks for suite in suites)]
    return [*suites, Suite(tasks=named, fewshot=parameters.fewshot)] if named else suites


def check_folder(include_path: Path | None) -> None:
    """Refuse a missing folder of task files.

    Raises:
        InputError: if the folder does not exist.
    """
    if include_path is not None and not Path(include_path).is_dir():
        raise InputError(f"There is no folder {str(include_path)!r} with task files; give one that exists.")


def load_tasks(tasks: list[str], include_path: Path | None = None, progress: str = "") -> dict[str, Any]:
    """lm-eval's ``Task`` and ``Group`` objects by name: each group, then its members, without duplicates.

    Args:
        tasks: names of tasks, groups or tags.
        include_path: folder with the user's task files.
        progress: label of a progress bar; empty for none.

    Raises:
        InputError: naming the unknown task (with the closest names), the user's file that lm-eval would skip, or the
            task that cannot be loaded, because of its file, a missing package or data that cannot be reached.
    """
    if tasks:
        require(["lm_eval"], f"The task {tasks[0]!r}")
    # The bar also ends its line if a task cannot be loaded.
    with quiet_harness(), tqdm(tasks, desc=progress, disable=not progress) as names:
        manager = _manager(tuple(tasks), include_path)
        loaded = [item for name in names for item in _load(name, manager)]
    return {name: item for top in loaded for name, item in _with_members(top)}


def without_groups(items: Mapping[str, Any]) -> dict[str, Any]:
    """The tasks among what ``load_tasks`` returns."""
    from lm_eval.api.group import Group

    return {name: item for name, item in items.items() if not isinstance(item, Group)}


def _with_members(item: Any) -> Iterator[tuple[str, Any]]:
    """A task, or a group followed by all groups and tasks in it."""
    from lm_eval.api.group import Group

    if isinstance(item, Group):
        yield item.name, item
        for member in item:
            yield from _with_members(member)
    else:
        yield item.task_name, item


def _load(name: str, manager: "TaskManager") -> list[Any]:
    """The group, the task or, for a tag, the tasks that a name stands for.

    Raises:
        InputError: if there is none, or one cannot be loaded.
    """
    if name not in manager.task_index:
        close = difflib.get_close_matches(name, manager.all_tasks, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "name one of lm-eval's, or a folder with your own."
        raise InputError(f"There is no task {name!r}; {hint}")
    try:
        loaded = manager.load([name])
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"The task {name!r} cannot be loaded ({reason(error)}); see that its file is right and its data "
            "can be reached, or leave it out."
        ) from None
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            needs = "runs code that the model wrote" if getattr(task, "UNSAFE_CODE", False) else "needs images or sound"
            raise InputError(f"The task {task.task_name!r} {needs}, which is not supported; leave it out.")
    groups = loaded.get("groups", {})
    return [groups[name]] if name in groups else list(loaded["tasks"].values())


def _manager(tasks: tuple[str, ...], include_path: Path | None) -> "TaskManager":
    """The index of the user's task files if they suffice, otherwise together with those of lm-eval.

    Reading the 14,000 files of lm-eval takes many seconds.
    """
    if include_path is not None:
        own = _own(include_path)
        if all(_complete(name, own) for name in tasks):
            return own
    return _shipped_and_own(include_path)


def _complete(name: Any, manager: "TaskManager") -> bool:
    """Whether a task and, for a group, all its members are in the index."""
    entry = manager.task_index.get(name) if isinstance(name, str) else None
    if entry is None:
        return False
    members = (entry.cfg or {}).get("task")
    return all(_complete(member, manager) for member in members) if isinstance(members, list) else True


def _own_names(include_path: Path | None) -> set[str]:
    """The tasks, groups and tags in a folder."""
    check_folder(include_path)
    if include_path is None:
        return set()
    with quiet_harness():
        return set(_own(include_path).task_index)


def _own(include_path: Path) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    check_task_files(include_path)
    return TaskManager(include_path=str(include_path), include_defaults=False)


@functools.lru_cache(maxsize=1)
def _shipped_and_own(include_path: Path | None) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=None if include_path is None else str(include_path))


def reason(error: Exception) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Suppress the harness's log and prints; progress bars, on standard error, stay."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
