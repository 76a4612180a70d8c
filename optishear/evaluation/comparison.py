"""Evaluations of several models → one table: dense beside Wanda beside the searched recipe."""

import math
from typing import Any

import pyarrow as pa

MODELS = ("dense", "wanda", "pruned")
_SCHEMA = pa.schema(
    [("model", pa.string()), ("measure", pa.string()), ("value", pa.float64()), ("stderr", pa.float64())]
)
_MISSING, _FAILED = "–", "failed"


def comparison_table(metrics: dict[str, Any]) -> pa.Table:
    """One row per model and measure.

    Args:
        metrics: the contents of ``metrics.json``, where ``dense``, ``wanda`` and ``pruned`` hold an evaluation each;
            any of them may be missing.

    Returns:
        Columns ``model`` (dense, wanda, pruned), ``measure`` (``perplexity``, ``sparsity``, ``TASK/METRIC``),
        ``value`` float64 and ``stderr`` float64 or null. A task that failed has no rows.
    """
    rows = [
        {"model": model, "measure": measure, "value": value, "stderr": stderr}
        for model in MODELS
        if metrics.get(model)
        for measure, (value, stderr) in _measures(metrics[model]).items()
        if value is not None
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def markdown(metrics: dict[str, Any]) -> str:
    """The same as a Markdown table, a column for each model that is there; a task that failed says so."""
    models = [model for model in MODELS if metrics.get(model)]
    columns = {model: _measures(metrics[model]) for model in models}
    measures = list(dict.fromkeys(measure for column in columns.values() for measure in column))
    # A task that failed for one model has metrics for another: its cells there are "failed", with no row of its own.
    failed = {model: {name for name, (value, _) in columns[model].items() if value is None} for model in models}
    with_metrics = {task for measure in measures for task in _tasks_of(measure)}
    lines = ["| " + " | ".join(["measure", *models]) + " |", "| --- |" + " ---: |" * len(models)]
    for measure in measures:
        if measure not in with_metrics:
            cells = [_cell(measure, columns[model], failed[model]) for model in models]
            lines.append("| " + " | ".join([measure.replace("|", "\\|"), *cells]) + " |")
    return "\n".join(lines) + "\n"


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
