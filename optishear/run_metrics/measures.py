"""The measures of the compared models of a run, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optishear.evaluation.harness import failure_of, measures_of
from optishear.run_metrics.evaluated_model import EvaluatedModel
from optishear.run_metrics.schema import Model, RunMetrics


@dataclass(frozen=True)
class ComparedMeasure:
    """A task's metric, by model.

    Attributes:
        task: the task's name.
        metric: the task's metric; empty for a task that failed for all models.
        values: by model; ``None`` if it was not measured.
        errors: standard error by model; ``None`` if there is none.
        failed: the models for which the task failed.
    """

    task: str
    metric: str
    values: Mapping[Model, float | None]
    errors: Mapping[Model, float | None]
    failed: frozenset[Model] = field(default_factory=frozenset)

    @property
    def name(self) -> str:
        """The task's name and its metric."""
        return f"{self.task} {self.metric}".strip()


def perplexities(metrics: RunMetrics) -> dict[Model, float | None]:
    """The perplexity of each model."""
    return {name: model.perplexity for name, model in metrics.compared_models.items()}


def task_measures(metrics: RunMetrics) -> list[ComparedMeasure]:
    """All metrics of all tasks of any model, in the given order.

    A task that failed for all models is included without a metric.
    """
    names: dict[str, dict[str, None]] = {}
    failed: dict[str, set[Model]] = {}
    for name, model in metrics.compared_models.items():
        for task, result in model.tasks.items():
            metric_names = names.setdefault(task, {})
            metric_names.update(dict.fromkeys(measures_of(result)))
            if failure_of(result) is not None:
                failed.setdefault(task, set()).add(name)
    return [
        _compared(metrics, task, metric, frozenset(failed.get(task, ())))
        for task, metric_names in names.items()
        for metric in metric_names or ("",)
    ]


def _compared(metrics: RunMetrics, task: str, metric: str, failed: frozenset[Model]) -> ComparedMeasure:
    scores = {name: _score(model, task, metric) for name, model in metrics.compared_models.items()}
    return ComparedMeasure(
        task,
        metric,
        {name: score[0] for name, score in scores.items()},
        {name: score[1] for name, score in scores.items()},
        failed,
    )


def _score(model: EvaluatedModel, task: str, metric: str) -> tuple[float | None, float | None]:
    measure = measures_of(model.tasks.get(task, {})).get(metric)
    return (measure["value"], measure["stderr"]) if measure else (None, None)
