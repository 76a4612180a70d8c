"""Read the measures of the three models from ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optishear.evaluation.comparison import MODELS

TITLES = {"dense": "dense", "wanda": "Wanda", "pruned": "pruned"}


@dataclass(frozen=True)
class Measure:
    """A perplexity or a task metric, by model.

    Attributes:
        name: ``perplexity``, or a task's name and its metric.
        task: the task's name; empty for the perplexity.
        metric: the task's metric; empty for the perplexity.
        values: by model; ``None`` if it was not measured.
        errors: standard error by model; ``None`` if there is none.
        failed: the models for which the task failed.
    """

    name: str
    task: str = ""
    metric: str = ""
    values: Mapping[str, float | None] = field(default_factory=dict)
    errors: Mapping[str, float | None] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()


def as_number(value: Any) -> float | None:
    """A number from JSON, where NaN and infinity may be written as text; ``None`` if it is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def perplexities(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The perplexity of each model."""
    return {model: as_number((metrics.get(model) or {}).get("perplexity")) for model in MODELS}


def task_measures(metrics: Mapping[str, Any]) -> list[Measure]:
    """All metrics of all tasks of any model, in the given order.

    A task that failed for all models is included without a metric.
    """
    names: dict[str, dict[str, None]] = {}
    failed: dict[str, set[str]] = {}
    for model in MODELS:
        for task, scores in ((metrics.get(model) or {}).get("tasks") or {}).items():
            metric_names = names.setdefault(task, {})
            if "error" in scores:
                failed.setdefault(task, set()).add(model)
            else:
                metric_names.update(dict.fromkeys(scores))
    return [
        Measure(
            f"{task} {metric}".strip(),
            task,
            metric,
            {model: as_number(_entry(metrics, model, task, metric).get("value")) for model in MODELS},
            {model: as_number(_entry(metrics, model, task, metric).get("stderr")) for model in MODELS},
            frozenset(failed.get(task, ())),
        )
        for task, metric_names in names.items()
        for metric in metric_names or ("",)
    ]


def _entry(metrics: Mapping[str, Any], model: str, task: str, metric: str) -> Mapping[str, Any]:
    entry = (((metrics.get(model) or {}).get("tasks") or {}).get(task) or {}).get(metric)
    return entry if isinstance(entry, Mapping) else {}
