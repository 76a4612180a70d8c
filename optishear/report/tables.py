"""The rows of the report's tables, as text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optishear.evaluation.differences import Difference
from optishear.inference.footprint import GAIN, Footprint
from optishear.markdown import plain
from optishear.parameters.bos import Bos
from optishear.report.formatting import SPACE, TITLES, duration, memory, number, percent
from optishear.report.objectives import objective_label
from optishear.run_metrics.measures import ComparedMeasure, perplexities, task_measures
from optishear.run_metrics.schema import Model, RunMetrics

# Perplexities count with it: some models lose more than a nat a token without.
_BOS: dict[Bos | None, str] = {
    None: "",
    "each-window": ", each of which begins with the tokenizer's BOS",
    "text-start": ", of which the first begins with the tokenizer's BOS",
}


@dataclass(frozen=True)
class ScoreRow:
    """One measure over the models; ``change`` is the pruned model's against Wanda's."""

    name: str
    cells: tuple[str, ...]
    change: str


def score_rows(metrics: RunMetrics) -> list[ScoreRow]:
    """Perplexity, tasks and sparsity of the compared models, and what each took to make."""
    names = tuple(metrics.compared_models)
    perplexity = perplexities(metrics)
    noise = metrics.differences["wanda"].by_measure()
    rows = [
        ScoreRow(
            "perplexity (lower is better)",
            tuple(number(perplexity[model]) for model in names),
            relative_change(perplexity["pruned"], perplexity["wanda"]) + _noisy(noise.get("perplexity")),
        )
    ]
    rows += [
        ScoreRow(
            measure.name,
            tuple(_with_error(measure, model) for model in names),
            _change(measure) + _noisy(noise.get(f"{measure.task}/{measure.metric}")),
        )
        for measure in task_measures(metrics)
    ]
    models = metrics.compared_models.values()
    rows.append(_sparsity_row("sparsity of the prunable layers", [model.sparsity for model in models]))
    of_all = [model.sparsity_of_all_matrices for model in models]
    rows.append(_sparsity_row("sparsity of all matrices in the decoder layers", of_all))
    if metrics.making_seconds:
        rows.append(making_row("time to make it", metrics))
    return rows


def making_row(name: str, metrics: RunMetrics) -> ScoreRow:
    """What each compared model took to make."""
    seconds = metrics.making_seconds
    return ScoreRow(name, tuple(duration(seconds[m]) if m in seconds else "–" for m in metrics.compared_models), "")


def _sparsity_row(name: str, sparsities: Sequence[float | None]) -> ScoreRow:
    return ScoreRow(name, tuple("–" if sparsity is None else percent(sparsity, 2) for sparsity in sparsities), "")


def score_columns(metrics: RunMetrics) -> list[str]:
    """The headings above the cells of ``score_rows`` and their change."""
    return [*(TITLES[model] for model in metrics.compared_models), "pruned against Wanda"]


def score_markdown(metrics: RunMetrics) -> str:
    """The rows of ``score_rows`` as a Markdown table."""
    heading = ["", *score_columns(metrics)]
    lines = ["| " + " | ".join(heading) + " |", "| --- |" + " ---: |" * (len(heading) - 1)]
    lines += ["| " + " | ".join(map(plain, (row.name, *row.cells, row.change))) + " |" for row in score_rows(metrics)]
    return "\n".join(lines) + "\n"


def settings_words(metrics: RunMetrics) -> str:
    """Settings of the evaluation, in sentences."""
    settings = metrics.pruned.settings
    sentences = []
    if settings.windows is not None:
        sentences.append(
            f"Perplexity on {settings.text}, {settings.windows} windows of {settings.window_length} tokens"
            f"{_BOS[settings.bos]}."
        )
    if metrics.calibration_documents is not None:
        documents = "1 document" if metrics.calibration_documents == 1 else f"{metrics.calibration_documents} documents"
        sentences.append(f"Calibration text from {documents}.")
    if metrics.pruned.tasks:
        limit = f"the first {settings.limit} examples" if settings.limit else "all examples"
        sentences.append(f"Tasks on {limit} of each, ± one standard error.")
    if metrics.differences["wanda"].by_measure():
        sentences.append(
            "Within noise: nearer than 1.96 standard errors of the difference, taken on the same examples."
        )
    if metrics.making_seconds:
        sentences.append(
            "The time to make a model is that of its stages, from the dense model and the calibration text."
        )
    sentences.append(f"Computed in {metrics.precision.dtype}: {metrics.precision.reason}.")
    return " ".join(sentences)


def stage_rows(metrics: RunMetrics) -> list[tuple[str, str, str]]:
    """Name, time and peak memory of each stage, and the sum."""
    rows = []
    for name, cost in metrics.stages.items():
        seconds = duration(cost.seconds)
        rows.append((name, f"{seconds} (from the cache)" if cost.cached else seconds, memory(cost.peak_memory_bytes)))
    if len(rows) > 1:
        costs = metrics.stages.values()
        ran = "all that ran" if any(cost.cached for cost in costs) else "all"
        total = sum(cost.seconds for cost in costs if not cost.cached)
        rows.append((ran, duration(total), memory(max(cost.peak_memory_bytes for cost in costs))))
    return rows


def footprint_rows(metrics: RunMetrics) -> list[tuple[str, str, str, str, str]]:
    """Model and format, size on disk, size in memory, tokens per second, layers that ran sparse.

    Each size and speed but the dense model's has its ratio to that.
    """
    dense = metrics.dense.footprint.get("dense")
    rows = [] if dense is None else [_footprint_row("dense model", dense, None)]
    return rows + [
        _footprint_row(f"pruned, {format} format", footprint, dense)
        for format, footprint in metrics.pruned.footprint.items()
    ]


def _footprint_row(name: str, footprint: Footprint, dense: Footprint | None) -> tuple[str, str, str, str, str]:
    return (
        name,
        _beside(footprint.disk_bytes, dense.disk_bytes if dense else None, memory),
        _beside(footprint.memory_bytes, dense.memory_bytes if dense else None, memory),
        _beside(footprint.tokens_per_second, dense.tokens_per_second if dense else None, number),
        "" if footprint.sparse_layers is None else str(footprint.sparse_layers),
    )


def footprint_verdict(metrics: RunMetrics) -> str:
    """Whether the pruned model is faster, in a sentence; empty where that was not measured."""
    dense, packed = metrics.dense.footprint.get("dense"), metrics.pruned.footprint.get("bitmask")
    if dense is None or packed is None or packed.sparse_layers is None:
        return ""
    if not packed.sparse_layers:
        return "No faster here: no layer runs sparse."
    if packed.tokens_per_second < GAIN * dense.tokens_per_second:
        return f"No faster here, though {packed.sparse_layers} layers run sparse."
    return f"Faster here, in the bitmask format: {packed.sparse_layers} layers run sparse."


def footprint_device(metrics: RunMetrics) -> str:
    """Devices of the speed measurements, for a sentence; empty if there are none."""
    devices = {footprint.device for model in (metrics.dense, metrics.pruned) for footprint in model.footprint.values()}
    return ", ".join("the CPU" if device == "cpu" else device for device in sorted(devices))


def _beside(value: float, reference: float | None, words: Callable[[float | None], str]) -> str:
    return words(value) + (f" (×{SPACE}{number(value / reference)})" if reference else "")


def objective_rows(metrics: RunMetrics) -> list[tuple[str, str, str, str]]:
    """Objective, the recipe's value, Wanda's, and the change; none where nothing was searched."""
    if metrics.search is None:
        return []
    objectives, wanda = metrics.search.objectives, metrics.search.wanda_objectives
    rows = []
    for name in [*objectives, *(name for name in wanda if name not in objectives)]:
        mine, theirs = objectives.get(name), wanda.get(name)
        rows.append((objective_label(name), number(mine, "–"), number(theirs, "–"), relative_change(mine, theirs)))
    return rows


def prior_rows(metrics: RunMetrics) -> list[tuple[str, str, str]]:
    """Prior of the ratios, its divergence, and the change from the best; none where no priors were measured."""
    priors = metrics.search.ratio_priors if metrics.search else {}
    best = min(priors.values(), default=None)
    return [
        (name, number(value), relative_change(value, best) if value != best else "") for name, value in priors.items()
    ]


def _with_error(measure: ComparedMeasure, model: Model) -> str:
    value, error = measure.values[model], measure.errors[model]
    if model in measure.failed:
        return "failed"
    if value is None or not error or not math.isfinite(error):
        return number(value, "–")
    return f"{number(value)} ± {error:.3f}"


def relative_change(value: float | None, reference: float | None) -> str:
    """The change from a reference in percent, such as ``−2.1 %``; empty where one of the two is no finite number."""
    if value is None or not reference or not (math.isfinite(value) and math.isfinite(reference)):
        return ""
    change = value / reference - 1
    return f"{change:+.1%}".replace("%", " %").replace("-", "−")


def _change(measure: ComparedMeasure) -> str:
    change = relative_change if "perplexity" in measure.metric else _difference
    return change(measure.values["pruned"], measure.values["wanda"])


def _noisy(difference: Difference | None) -> str:
    return ", within noise" if difference is not None and difference.within_noise else ""


def _difference(value: float | None, reference: float | None) -> str:
    if value is None or reference is None or not (math.isfinite(value) and math.isfinite(reference)):
        return ""
    return f"{value - reference:+.3f}".replace("-", "−")
