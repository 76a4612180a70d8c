"""What benchmark tasks ask, as digests: their configuration, their functions and their documents."""

import functools
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from optishear.evaluation.task_files import check_folder, load_tasks, quiet_harness, reason, without_groups
from optishear.extras import require
from optishear.files import sha256_of_file

# Parts of a task's configuration that only name the place of its data or its file; the data itself is part of the
# identity.
_PLACES = {"dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset", "config_source"}


def identify_tasks(
    tasks: Sequence[str], include_path: Path | None = None, fewshot: int | None = None
) -> Mapping[str, dict[str, str]]:
    """The identity of each task, independent of the place of its documents. Loading them reveals bad tasks.

    Within one process the documents are read once, unless a file of the folder changes.

    Args:
        tasks: names of tasks, groups or tags.
        include_path: folder with task files of the user's own.
        fewshot: examples shown in the prompt; each task's own number where not given.

    Returns:
        By the name of each task, ``task_identity``.

    Raises:
        InputError: as ``load_tasks``, and for a folder that is missing.
    """
    check_folder(include_path)
    if tasks:
        require(["lm_eval"], f"The task {tasks[0]!r}")
    return _identify(tuple(tasks), include_path, fewshot, _state(include_path)) if tasks else {}


# A flow checks its parameters, again those of each flow that it is made of, and each of its stages has a key; the
# documents take seconds to read.
@functools.lru_cache(maxsize=8)
def _identify(
    tasks: tuple[str, ...], include_path: Path | None, fewshot: int | None, _state: object
) -> dict[str, dict[str, str]]:
    identities = {}
    loaded = load_tasks(list(tasks), include_path, progress="checking tasks")
    for name, task in without_groups(loaded).items():
        try:
            with quiet_harness():
                set_fewshot(task, fewshot)
                identities[name] = task_identity(task)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # it fails alone when it is run
            identities[name] = {"error": reason(error)}
    return identities


def _state(folder: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of change of a folder's files."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file()) if folder is not None else []
    return tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def set_fewshot(task: Any, fewshot: int | None) -> None:
    """Set the number of examples in the prompt, as lm-eval does."""
    own = task.get_config("num_fewshot")
    if own is None or (fewshot is not None and own != 0):
        task.set_config("num_fewshot", fewshot or 0)


def task_identity(task: Any, limit: int | None = None) -> dict[str, str]:
    """Digests of what a task asks: its configuration, functions as source, and its documents.

    Args:
        task: lm-eval's, with the number of examples in the prompt set.
        limit: how many of its documents count; all where not given.
    """
    config = _without_places(task.dump_config())
    documents = [document for _, document in task.doc_iterator(limit=limit)]
    fewshot_documents = list(task.fewshot_docs()) if task.get_config("num_fewshot") else []
    return {"config": _digest(config), "documents": _digest(documents), "fewshot_documents": _digest(fewshot_documents)}


def digest_of_code(include_path: Path | None) -> str:
    """The Python files beside the task files, whose functions the tasks may call."""
    if include_path is None:
        return ""
    files = sorted(Path(include_path).rglob("*.py"))
    return _digest({file.relative_to(include_path).as_posix(): sha256_of_file(file) for file in files})


def _without_places(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_places(value) for key, value in config.items() if key not in _PLACES}
    return config


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_in_text).encode()).hexdigest()


def _in_text(value: Any) -> str:
    """A value that JSON has no form for; a function as its source, since its address is another in every process."""
    if callable(value):
        with suppress(OSError, TypeError):
            return inspect.getsource(value)
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return str(value)
