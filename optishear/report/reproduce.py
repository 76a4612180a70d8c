"""The command line that does the run again."""

import shlex
from collections.abc import Mapping
from typing import Any

from optishear.parameters import Parameters, Pipeline, TransferStage
from optishear.recipes.recipe import Recipe

# Where results go is the reader's choice, and a tracking address may hold a password.
_LEFT_OUT = {"output", "tracking_uri", "experiment"}
_ALWAYS = {"model", "sparsity", "sparsities", "recipe"}


def command(metrics: Mapping[str, Any], recipe: Recipe) -> str:
    """``optishear run``, or ``optishear transfer`` where nothing was searched, quoted for a shell.

    Flags that have their default are left out.

    Args:
        metrics: the content of ``metrics.json``. Its ``parameters`` (name to value) are what the run was started
            with; without them the flags are those that the rest of the file and the recipe tell.
        recipe: the recipe that was searched or carried over.
    """
    searched = bool(metrics.get("search"))
    group = Pipeline if searched else TransferStage
    values = {**_told(metrics, recipe), **(metrics.get("parameters") or {})}
    if not searched:
        values["recipe"] = "recipe.yaml"
    return command_line("run" if searched else "transfer", group, values)


def command_line(name: str, group: type[Parameters], values: Mapping[str, Any]) -> str:
    """A command of the group's parameters, quoted for a shell, without the flags that have their default.

    Args:
        name: the command's.
        group: its parameters.
        values: value by parameter.
    """
    words = [f"optishear {name}"]
    defaults = group().model_dump(mode="json")
    for parameter in group.model_fields:
        value = values.get(parameter)
        default = defaults[parameter]
        if parameter in _LEFT_OUT or value is None or (parameter not in _ALWAYS and value == default):
            continue
        words.append(_flag(parameter, value))
    return " \\\n    ".join(words)


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"--{flag} {shlex.quote(text)}"


def _told(metrics: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    if metrics.get("parameters"):
        return {}
    evaluation = metrics.get("pruned") or metrics.get("dense") or {}
    settings = evaluation.get("settings") or {}
    search = metrics.get("search") or {}
    same = ("window_length", "windows", "limit", "fewshot", "batch_size")
    return {
        "model": metrics.get("model"),
        "sparsity": str(recipe.sparsity),
        "calibration": metrics.get("calibration"),
        "algorithm": search.get("algorithm"),
        "trials": search.get("trials"),
        "seed": recipe.origin.get("seed"),
        "evaluation_text": settings.get("text"),
        "tasks": list(evaluation.get("tasks") or {}),
        **{name: settings.get(name) for name in same},
    }
