"""Table that compares the evaluations of the dense model, Wanda and the searched recipe."""

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
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _noise(metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How the pruned model differs from Wanda, by measure."""
    differences: dict[str, Any] = (metrics.get("differences") or {}).get("wanda") or {}
    named = {
        f"{task}/{metric}": difference
        for task, metrics in (differences.get("tasks") or {}).items()
        for metric, difference in metrics.items()
    }
    return {**named, **({"perplexity": differences["perplexity"]} if differences.get("perplexity") else {})}


def _columns(model: str, difference: dict[str, Any] | None) -> dict[str, Any]:
    if model != "pruned" or difference is None:
        return {}
    names = {"value": "difference", "stderr": "difference_stderr", "within_noise": "within_noise"}
    return {column: difference[name] for name, column in names.items()}


def _measures(evaluation: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Value and standard error by measure; a task that failed has none."""
    measures: dict[str, tuple[float, float | None]] = {
        name: (float(evaluation[name]), None) for name in ("perplexity", "sparsity") if evaluation.get(name) is not None
    }
    for task, result in (evaluation.get("tasks") or {}).items():
        if "error" not in result:
            measures |= {
                f"{task}/{metric}": (measure["value"], measure.get("stderr")) for metric, measure in result.items()
            }
    return measures
