"""Evaluations of several models → one table: dense beside Wanda beside the searched recipe."""

import math
from typing import Any

import pyarrow as pa

MODELS = ("dense", "wanda", "pruned")
_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("difference", pa.float64()),
        ("difference_stderr", pa.float64()),
        ("within_noise", pa.bool_()),
    ]
)
_MISSING, _FAILED = "–", "failed"


def comparison_table(metrics: dict[str, Any]) -> pa.Table:
    """One row per model and measure.

    Args:
        metrics: the contents of ``metrics.json``, where ``dense``, ``wanda`` and ``pruned`` hold an evaluation each
            and ``differences`` compares them; any of them may be missing.

    Returns:
        Columns ``model`` (dense, wanda, pruned), ``measure`` (``perplexity``, ``sparsity``, ``TASK/METRIC``),
        ``value`` float64 and ``stderr`` float64 or null; for the pruned model ``difference`` (from Wanda's value; of
        the logarithms for a perplexity), ``difference_stderr`` and ``within_noise``, null where the noise is not
        known. A task that failed has no rows.
    """
    noise = _noise(metrics)
    rows = [
        {"model": model, "measure": measure, "value": value, "stderr": stderr, **_columns(model, noise.get(measure))}
        for model in MODELS
        if metrics.get(model)
        for measure, (value, stderr) in _measures(metrics[model]).items()
        if value is not None
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def markdown(metrics: dict[str, Any]) -> str:
    """The same as a Markdown table, a column for each model that is there; a task that failed says so.

    A last column compares the pruned model with Wanda, and says where that is within the noise.
    """
    models = [model for model in MODELS if metrics.get(model)]
    columns = {model: _measures(metrics[model]) for model in models}
    noise = _noise(metrics)
    compared = ["pruned − wanda"] if {"wanda", "pruned"} <= set(models) else []
    measures = list(dict.fromkeys(measure for column in columns.values() for measure in column))
    # A task that failed for one model has metrics for another: its cells there are "failed", with no row of its own.
    failed = {model: {name for name, (value, _) in columns[model].items() if value is None} for model in models}
    with_metrics = {task for measure in measures for task in _tasks_of(measure)}
    heading = ["measure", *models, *compared]
    lines = ["| " + " | ".join(heading) + " |", "| --- |" + " ---: |" * (len(heading) - 1)]
    for measure in measures:
        if measure not in with_metrics:
            cells = [_cell(measure, columns[model], failed[model]) for model in models]
            cells += [_change(measure, columns, noise.get(measure)) for _ in compared]
            lines.append("| " + " | ".join([measure.replace("|", "\\|"), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _noise(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How the pruned model differs from Wanda, by measure."""
    found: dict[str, Any] = (metrics.get("differences") or {}).get("wanda") or {}
    named = {
        f"{task}/{metric}": each for task, some in (found.get("tasks") or {}).items() for metric, each in some.items()
    }
    return {**named, **({"perplexity": found["perplexity"]} if found.get("perplexity") else {})}


def _columns(model: str, difference: dict[str, Any] | None) -> dict[str, Any]:
    if model != "pruned" or difference is None:
        return {}
    names = {"value": "difference", "stderr": "difference_stderr", "within_noise": "within_noise"}
    return {column: difference[name] for name, column in names.items()}


def _change(
    measure: str,
    columns: dict[str, dict[str, tuple[float | None, float | None]]],
    difference: dict[str, Any] | None,
) -> str:
    pruned, wanda = (columns[model].get(measure, (None, None))[0] for model in ("pruned", "wanda"))
    if measure == "sparsity" or pruned is None or wanda is None or not math.isfinite(pruned - wanda):
        return ""
    is_perplexity = "perplexity" in measure
    words = f"{pruned / wanda - 1:+.1%}".replace("%", " %") if is_perplexity else f"{pruned - wanda:+.3f}"
    noisy = " (within noise)" if difference is not None and difference["within_noise"] else ""
    return words.replace("-", "−") + noisy


def _measures(evaluation: dict[str, Any]) -> dict[str, tuple[float | None, float | None]]:
    """Value and standard error by measure; (None, None) under the task's name for a task that failed."""
    measures: dict[str, tuple[float | None, float | None]] = {
        name: (float(evaluation[name]), None) for name in ("perplexity", "sparsity") if evaluation.get(name) is not None
    }
    for task, result in (evaluation.get("tasks") or {}).items():
        if "error" in result:
            measures[task] = (None, None)
            continue
        for metric, measure in result.items():
            measures[f"{task}/{metric}"] = (measure["value"], measure.get("stderr"))
    return measures


def _tasks_of(measure: str) -> list[str]:
    """What may be the task's name in ``TASK/METRIC`` or ``TASK/METRIC/FILTER``."""
    parts = measure.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _cell(measure: str, column: dict[str, tuple[float | None, float | None]], failed: set[str]) -> str:
    if measure in failed or failed.intersection(_tasks_of(measure)):
        return _FAILED
    value, stderr = column.get(measure, (None, None))
    if value is None:
        return _MISSING
    digits = 2 if "perplexity" in measure else 3
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}f}" + (f" ± {stderr:.{digits}f}" if stderr is not None else "")
