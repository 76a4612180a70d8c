"""Benchmark tasks through the Language Model Evaluation Harness (lm-eval), on a model that is already in memory."""

import copy
import difflib
import functools
import io
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from typing_extensions import TypedDict

from optishear.errors import InputError

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

# Rolling perplexities and truncated prompts change with the context, so it is the same for every model.
CONTEXT = 2048
# The harness draws 100,000 resamples for metrics without a closed form, minutes of Python for a digit nobody reads.
_RESAMPLES = 1000


class Measure(TypedDict):
    """A metric of a task: its value, and the standard error where the harness gives one."""

    value: float
    stderr: float | None


# Metric name to measure; or the one key "error" with the reason why the task failed.
TaskResult = dict[str, Measure | str]


def check_tasks(tasks: list[str], include_path: Path | None = None) -> None:
    """Load every task with its data, so that what is wrong shows before a model is loaded.

    Args:
        tasks: names of tasks, groups or tags.
        include_path: folder with task files of the user's own.

    Raises:
        InputError: naming the folder that is missing, the unknown task (with the closest names), or the task that
            cannot be loaded, because of its file, a missing package or data that cannot be reached.
    """
    if include_path is not None and not Path(include_path).is_dir():
        raise InputError(f"There is no folder {str(include_path)!r} with task files; give one that exists.")
    if not tasks:
        return
    with _quiet():
        manager = _manager(tasks, include_path)
        for name in tqdm(tasks, desc="checking tasks"):
            _load(name, manager)


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: list[str],
    *,
    include_path: Path | None = None,
    limit: int | None = None,
    fewshot: int | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> dict[str, TaskResult]:
    """Judge a model on tasks, one after the other, with a context of at most 2,048 tokens.

    Args:
        tasks: names of tasks, groups or tags; a group's own score comes before those of its tasks.
        include_path: folder with task files of the user's own.
        limit: examples per task; all where not given.
        fewshot: examples shown in the prompt; each task's own number where not given. As in lm-eval, a task whose
            file sets 0 keeps it.
        batch_size: sequences per forward pass.
        seed: of the few-shot examples and of sampled answers.

    Returns:
        For every task and group a dict of metrics (``acc``, ``exact_match/strict-match``), or ``{"error": reason}``
        for one that failed; the others are judged all the same.

    Raises:
        InputError: as ``check_tasks``.
        torch.OutOfMemoryError: if the device's memory is full.
    """
    if not tasks:
        return {}
    from lm_eval.api.group import Group
    from lm_eval.models.huggingface import HFLM

    # Its pool of processes for resampling would fork this one, threads and all.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    results: dict[str, TaskResult] = {}
    raw: dict[str, dict[str, Any]] = {}
    with _quiet():
        manager = _manager(tasks, include_path)
        loaded = [item for name in tasks for item in _load(name, manager)]
        # Order: each group, then its members; and whatever two requests share only once.
        items = {name: item for top in loaded for name, item in _with_members(top)}
        # The harness sets a padding token where there is none, which the checkpoint's tokenizer must not get.
        tokenizer = copy.deepcopy(tokenizer)
        longest = getattr(model.config.get_text_config(), "max_position_embeddings", None) or CONTEXT
        context = min(longest, CONTEXT)
        judged = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=context)
        leaves = {name: item for name, item in items.items() if not isinstance(item, Group)}
        with tqdm(leaves.items(), desc="tasks") as progress:
            for name, task in progress:
                progress.set_postfix_str(name)
                try:
                    raw[name] = _run(judged, task, limit, fewshot, seed)
                    results[name] = clean(raw[name])
                except (torch.OutOfMemoryError, MemoryError):
                    raise
                except Exception as error:
                    results[name] = {"error": _reason(error)}
        for name, group in items.items():
            if isinstance(group, Group) and group.has_aggregation:
                failed = [task.task_name for task in group.get_all_tasks() if task.task_name not in raw]
                results[name] = (
                    {"error": f"{len(failed)} of its tasks failed: {', '.join(failed)}"}
                    if failed
                    else clean(dict(group.aggregate(raw)))
                )
    return {name: results[name] for name in items if name in results}


def clean(raw: dict[str, Any]) -> TaskResult:
    """The harness's flat metrics (``acc,none``, ``acc_stderr,none``) as name to value and standard error.

    The filter's name is kept where it is not ``none``: ``exact_match,strict-match`` is ``exact_match/strict-match``.
    """
    measures: TaskResult = {}
    for key, value in raw.items():
        metric, comma, filtered = key.partition(",")
        number = _number(value)
        if comma and number is not None and not metric.endswith("_stderr"):
            name = metric if filtered == "none" else f"{metric}/{filtered}"
            measures[name] = {"value": number, "stderr": _number(raw.get(f"{metric}_stderr,{filtered}"))}
    return measures


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _run(judged: Any, task: Any, limit: int | None, fewshot: int | None, seed: int) -> dict[str, Any]:
    from lm_eval.evaluator import evaluate

    own = task.get_config("num_fewshot")
    if own is None or (fewshot is not None and own != 0):
        task.set_config("num_fewshot", fewshot or 0)
    task.set_fewshot_seed(seed)
    # Each task starts from the same state, so that its result does not depend on the tasks before it.
    set_seed(seed)
    # simple_evaluate() would list every installed package in each task's results, which takes seconds.
    results = evaluate(
        judged,
        {"tasks": {task.task_name: task}, "groups": {}, "group_map": {}},
        limit=limit,
        bootstrap_iters=_RESAMPLES,
        log_samples=False,
    )
    return dict(results["results"][task.task_name])


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
        mend = f"did you mean {' or '.join(close)}?" if close else "name one of lm-eval's, or a folder with your own."
        raise InputError(f"There is no task {name!r}; {mend}")
    try:
        loaded = manager.load([name])
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"The task {name!r} cannot be loaded ({_reason(error)}); see that its file is right and its data "
            "can be reached, or leave it out."
        ) from None
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            needs = "runs code that the model wrote" if getattr(task, "UNSAFE_CODE", False) else "needs images or sound"
            raise InputError(f"The task {task.task_name!r} {needs}, which is not supported; leave it out.")
    groups = loaded.get("groups", {})
    return [groups[name]] if name in groups else list(loaded["tasks"].values())


def _manager(tasks: list[str], include_path: Path | None) -> "TaskManager":
    """The index of the user's own task files where these are enough, else with those that lm-eval ships.

    Reading the 14,000 that it ships takes many seconds.
    """
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        own = TaskManager(include_path=str(include_path), include_defaults=False)
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


@functools.lru_cache(maxsize=1)
def _shipped_and_own(include_path: Path | None) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=None if include_path is None else str(include_path))


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the harness's log and prints; progress bars, which go to standard error, stay."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
