"""Task files of the user that lm-eval would skip in silence, to take its own task of that name instead."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optishear.errors import InputError, first_line

_HINT = "correct the file, or move it out of the folder"
# A file with one of these keys is a task.
_KEYS_OF_TASKS = frozenset({"dataset_path", "output_type", "doc_to_text", "doc_to_target", "metric_list"})


def check_task_files(folder: Path) -> None:
    """Refuse a folder with a file that lm-eval's index leaves out, though it is a task, a group or unreadable.

    Files that others include, and YAML files of other content, may be there.

    Raises:
        InputError: naming the file and the reason.
    """
    from lm_eval.tasks._index import TaskIndex

    for file in sorted(folder.glob("**/*.yml")):
        if _KEYS_OF_TASKS & _content(file).keys():
            raise InputError(
                f"The task file {str(file)!r} is not read by lm-eval, which looks for names that end in .yaml; "
                "rename it."
            )
    files = {file: _content(file) for file in TaskIndex._iter_yaml_files(folder)}
    included = {path for file in files for path in _includes(file)}
    names: dict[str, Path] = {}
    for file, content in files.items():
        if not content.keys() & {"task", "group", "class"}:
            if content.keys() & _KEYS_OF_TASKS and file.resolve() not in included:
                raise InputError(f"The task file {str(file)!r} has no key 'task' with its name; {_HINT}.")
            continue
        name = _name(file, content)
        if name in names:
            raise InputError(
                f"The task files {str(names[name])!r} and {str(file)!r} have the same name {name!r}; {_HINT}."
            )
        names[name] = file


def _content(file: Path, included: bool = True) -> dict[str, Any]:
    """The mapping in a file, with what it includes unless told not to; empty for a list or a plain value."""
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        content: dict[str, Any] = load_yaml(file, resolve_func=False, recursive=included)
    except ValueError as error:
        if "Expected YAML dict" in str(error):
            return {}
        raise _unreadable(file, error) from None
    except Exception as error:  # whatever PyYAML and lm-eval's constructors raise
        raise _unreadable(file, error) from None
    return content


def _unreadable(file: Path, error: Exception) -> InputError:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: {getattr(error, 'problem', None) or first_line(error)}" if mark else None
    if isinstance(error, OSError) and error.filename is not None:
        where = f"{first_line(error)}: {error.filename}"
    return InputError(f"The task file {str(file)!r} cannot be read ({where or first_line(error)}); {_HINT}.")


def _includes(file: Path) -> Iterator[Path]:
    """The files that a file includes."""
    paths = _content(file, included=False).get("include", [])
    for path in paths if isinstance(paths, list) else [paths]:
        yield (file.parent / path).resolve()


def _name(file: Path, content: dict[str, Any]) -> str:
    """The name under which lm-eval indexes a file."""
    key = "group" if "group" in content and "class" not in content else "task"
    name = content.get(key)
    if isinstance(name, str) and name:
        return name
    reason = f"its {key} is {name!r} and not a name"
    if key == "group" and isinstance(name, list):
        reason += ", which newer versions of lm-eval write as 'tag'"
    raise InputError(f"The task file {str(file)!r} cannot be indexed: {reason}; {_HINT}.")
