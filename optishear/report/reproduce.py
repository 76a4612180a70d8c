"""The command line that does the run again."""

import shlex
from typing import Any

from optishear.parameters.base import Parameters
from optishear.parameters.roles import without_places

_ALWAYS = {"model", "sparsity", "sparsities", "recipe"}


def command_line(name: str, parameters: Parameters) -> str:
    """A command with these parameters, quoted for a shell, without the flags that have their default.

    Where it runs and where results go is the reader's choice, and a tracking address may hold a password: places are
    left out.

    Args:
        name: the command's.
        parameters: its parameters.
    """
    words = [f"optishear {name}"]
    defaults = without_places(type(parameters)())
    for parameter, value in without_places(parameters).items():
        if value is not None and (parameter in _ALWAYS or value != defaults[parameter]):
            words.append(_flag(parameter, value))
    return " \\\n    ".join(words)


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"--{flag} {shlex.quote(text)}"
