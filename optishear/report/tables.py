"""The rows of the report's tables, as text."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optishear.evaluation.comparison import MODELS
from optishear.report.formatting import SPACE, duration, memory, number, percent
from optishear.report.measures import TITLES, Measure, as_number, perplexities, task_measures
from optishear.report.objectives import objective_label

_FOOTPRINTS: dict[str, Callable[[float | None], str]] = {
    "disk_bytes": memory,
    "memory_bytes": memory,
    "tokens_per_second": number,
}


@dataclass(frozen=True)
class ScoreRow:
    """One measure over the models; ``change`` is the pruned model's against Wanda's."""

    name: str
    cells: tuple[str, ...]
    change: str


def score_rows(metrics: Mapping[str, Any]) -> list[ScoreRow]:
    """Perplexity, tasks and sparsity of dense, Wanda and pruned."""
    perplexity = perplexities(metrics)
    noise: Mapping[str, Any] = (metrics.get("differences") or {}).get("wanda") or {}
    rows = [
        ScoreRow(
            "perplexity (lower is better)",
            tuple(number(perplexity[model]) for model in MODELS),
            _relative(perplexity["pruned"], perplexity["wanda"]) + _noisy(noise.get("perplexity")),
        )
    ]
    rows += [
        ScoreRow(
            measure.name,
            tuple(_with_error(measure, model) for model in MODELS),
            _change(measure) + _noisy(((noise.get("tasks") or {}).get(measure.task) or {}).get(measure.metric)),
        )
        for measure in task_measures(metrics)
    ]
    sparsity = {model: as_number((metrics.get(model) or {}).get("sparsity")) for model in MODELS}
    rows.append(
        ScoreRow(
            "sparsity of the pruned layers",
            tuple("–" if sparsity[model] is None else percent(sparsity[model] or 0.0, 2) for model in MODELS),
            "",
        )
    )
    overall = as_number(metrics.get("sparsity_of_all_matrices"))
    if overall is not None:
        cells = tuple(percent(overall, 2) if model == "pruned" else "–" for model in MODELS)
        rows.append(ScoreRow("sparsity of all matrices in the decoder layers", cells, ""))
    return rows


def score_markdown(metrics: Mapping[str, Any]) -> str:
    """The rows of ``score_rows`` as a Markdown table."""
    heading = ["", *(TITLES[model] for model in MODELS), "pruned against Wanda"]
    lines = ["| " + " | ".join(heading) + " |", "| --- |" + " ---: |" * (len(heading) - 1)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (row.name, *row.cells, row.change)) + " |"
        for row in score_rows(metrics)
    ]
    return "\n".join(lines) + "\n"


def settings_words(metrics: Mapping[str, Any]) -> str:
    """Settings of the evaluation, in sentences."""
    evaluation = metrics.get("pruned") or metrics.get("dense") or {}
    settings = evaluation.get("settings") or {}
    sentences = []
    if settings.get("text"):
        windows = f"{settings['windows']} windows" if settings.get("windows") else "all windows"
        length = settings.get("window_length")
        sentences.append(f"Perplexity on {settings['text']}, {windows}" + (f" of {length} tokens." if length else "."))
    if evaluation.get("tasks"):
        limit = f"the first {settings['limit']} examples" if settings.get("limit") else "all examples"
        sentences.append(f"Tasks on {limit} of each, ± one standard error.")
    if metrics.get("differences"):
        sentences.append(
            "Within noise: nearer than 1.96 standard errors of the difference, taken on the same examples."
        )
    precision = metrics.get("precision")
    if precision:
        sentences.append(f"Computed in {precision['dtype']}: {precision['reason']}.")
    return " ".join(sentences)


def stage_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, time and peak memory of each stage, and the sum."""
    stages: Mapping[str, Any] = metrics.get("stages") or {}
    rows = []
    for name, stage in stages.items():
        seconds = duration(as_number(stage.get("seconds")))
        rows.append((name, f"{seconds} (from the cache)" if stage.get("cached") else seconds, _memory(stage)))
    if len(rows) > 1:
        total = sum(as_number(stage.get("seconds")) or 0.0 for stage in stages.values() if not stage.get("cached"))
        peaks = [peak for stage in stages.values() if (peak := as_number(stage.get("peak_memory_bytes"))) is not None]
        ran = "all that ran" if any(stage.get("cached") for stage in stages.values()) else "all"
        rows.append((ran, duration(total), memory(max(peaks)) if peaks else "–"))
    return rows


def footprint_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Model and format, size on disk, size in memory, tokens per second; each but the dense model's with its ratio."""
    rows = []
    dense = ((metrics.get("dense") or {}).get("footprint") or {}).get("dense") or {}
    for model in ("dense", "pruned"):
        for format, footprint in ((metrics.get(model) or {}).get("footprint") or {}).items():
            name = "dense model" if model == "dense" else f"pruned, {format} format"
            cells = [
                _beside(as_number(footprint.get(key)), as_number(dense.get(key)) if model != "dense" else None, words)
                for key, words in _FOOTPRINTS.items()
            ]
            rows.append((name, cells[0], cells[1], cells[2]))
    return rows


def footprint_device(metrics: Mapping[str, Any]) -> str:
    """Devices of the speed measurements, for a sentence; empty if there are none."""
    devices = {
        str(footprint["device"])
        for model in ("dense", "pruned")
        for footprint in ((metrics.get(model) or {}).get("footprint") or {}).values()
        if footprint.get("device")
    }
    return ", ".join("the CPU" if device == "cpu" else device for device in sorted(devices))


def _beside(value: float | None, reference: float | None, words: Callable[[float | None], str]) -> str:
    if value is None:
        return "–"
    return words(value) + (f" (×{SPACE}{number(value / reference)})" if reference else "")


def objective_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Objective, the recipe's value, Wanda's, and the change."""
    search = metrics.get("search") or {}
    objectives, wanda = search.get("objectives") or {}, search.get("wanda_objectives") or {}
    rows = []
    for name in [*objectives, *(name for name in wanda if name not in objectives)]:
        mine, theirs = as_number(objectives.get(name)), as_number(wanda.get(name))
        rows.append((objective_label(name), number(mine, "–"), number(theirs, "–"), _relative(mine, theirs)))
    return rows


def _memory(stage: Mapping[str, Any]) -> str:
    size = as_number(stage.get("peak_memory_bytes"))
    return "–" if size is None else memory(size)


def _with_error(measure: Measure, model: str) -> str:
    value, error = measure.values[model], measure.errors[model]
    if model in measure.failed:
        return "failed"
    if value is None or not error or not math.isfinite(error):
        return number(value, "–")
    return f"{number(value)} ± {error:.3f}"


def _relative(value: float | None, reference: float | None) -> str:
    if value is None or not reference or not (math.isfinite(value) and math.isfinite(reference)):
        return ""
    change = value / reference - 1
    return f"{change:+.1%}".replace("%", " %").replace("-", "−")


def _change(measure: Measure) -> str:
    change = _relative if "perplexity" in measure.metric else _difference
    return change(measure.values["pruned"], measure.values["wanda"])


def _noisy(difference: Mapping[str, Any] | None) -> str:
    return ", within noise" if difference is not None and difference["within_noise"] else ""


def _difference(value: float | None, reference: float | None) -> str:
    if value is None or reference is None or not (math.isfinite(value) and math.isfinite(reference)):
        return ""
    return f"{value - reference:+.3f}".replace("-", "−")
