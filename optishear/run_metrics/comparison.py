"""Table that compares the evaluations of the dense model, Wanda, SparseGPT and the searched recipe."""

from typing import Any

import pyarrow as pa

from optishear.evaluation.differences import Difference
from optishear.evaluation.harness import measures_of
from optishear.run_metrics.evaluated_model import EvaluatedModel
from optishear.run_metrics.schema import RunMetrics

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


def comparison_table(metrics: RunMetrics) -> pa.Table:
    """One row per model and measure.

    Returns:
        Columns ``model`` (dense, wanda, sparsegpt, pruned), ``measure`` (``perplexity``, ``sparsity``,
        ``making_seconds``, ``TASK/METRIC``), ``value`` float64 and ``stderr`` float64 or null; for the pruned model
        ``difference`` (from Wanda's value; of the logarithms for a perplexity), ``difference_stderr`` and
        ``within_noise``, null where the noise is not known. A task that failed has no rows.
    """
    differences = metrics.differences["wanda"].by_measure()
    rows = [
        {
            "model": name,
            "measure": measure,
            "value": value,
            "stderr": stderr,
            **(_columns(differences.get(measure)) if name == "pruned" else {}),
        }
        for name, model in metrics.compared_models.items()
        for measure, (value, stderr) in _measures(model, metrics.making_seconds.get(name)).items()
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _columns(difference: Difference | None) -> dict[str, Any]:
    if difference is None:
        return {}
    return {
        "difference": difference.value,
        "difference_stderr": difference.stderr,
        "within_noise": difference.within_noise,
    }


def _measures(model: EvaluatedModel, seconds: float | None) -> dict[str, tuple[float, float | None]]:
    """Value and standard error by measure."""
    single = {"perplexity": model.perplexity, "sparsity": model.sparsity, "making_seconds": seconds}
    return {
        **{name: (value, None) for name, value in single.items() if value is not None},
        **{
            f"{task}/{metric}": (measure["value"], measure["stderr"])
            for task, result in model.tasks.items()
            for metric, measure in measures_of(result).items()
        },
    }
