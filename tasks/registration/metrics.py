"""The numbers of a run as ``metrics.json`` holds them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq

from optishear.evaluation.differences import differences
from optishear.evaluation.examples import Examples, read_examples
from optishear.file_names import RECIPE, STATISTICS, TRIALS
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import without_places
from optishear.recipes.recipe import Recipe
from optishear.statistics.statistics import EXPERT_TOKENS, Statistics
from tasks.engine.precision import precision_of
from tasks.stages.diagnose import DIAGNOSIS_SUMMARY
from tasks.stages.evaluate import EVALUATION, EXAMPLES
from tasks.stages.footprint import FOOTPRINT
from tasks.stages.prune import SUMMARY
from tasks.store.artifacts import Artifact


def collect_metrics(
    parameters: ModelParameters,
    stages: Mapping[str, list[Artifact]],
    evaluations: Mapping[str, Artifact],
    footprints: Mapping[str, Artifact],
) -> dict[str, Any]:
    """Put together what the stages measured.

    Args:
        parameters: of the run.
        stages: the artifacts of each stage, by the stage's name, in the order they were made.
        evaluations: the evaluations by model: dense, wanda, pruned; and masked, the pruned one before reconstruction.
        footprints: what dense and pruned take, where it was measured.
    """
    values = without_places(parameters)
    metrics: dict[str, Any] = {
        "model": values["model"],
        "sparsity": values.get("sparsity"),
        "calibration": values.get("calibration"),
        "precision": asdict(precision_of(parameters)),
        **{model: artifact.read_json(EVALUATION) for model, artifact in evaluations.items()},
    }
    for model, artifact in footprints.items():
        metrics[model]["footprint"] = artifact.read_json(FOOTPRINT)
    if "pruned" in evaluations:
        # The pruned model less each of the others.
        metrics["differences"] = {
            other: differences(
                metrics["pruned"], metrics[other], _examples(evaluations["pruned"]), _examples(evaluations[other])
            )
            for other in ("wanda", "dense")
            if other in evaluations
        }
    checkpoints = stages.get("reconstruct") or stages.get("prune")
    if checkpoints:
        written = checkpoints[0].read_json(SUMMARY)
        metrics |= {name: written[name] for name in ("achieved_sparsity", "sparsity_of_all_matrices", "coverage")}
    if "statistics" in stages:
        statistics = Statistics.load(stages["statistics"][0].path(STATISTICS))
        if statistics.tokens:
            metrics["experts"] = {
                "layers": len(statistics.tokens),
                "smallest_tokens": EXPERT_TOKENS,
                "few_tokens": statistics.few_tokens,
            }
    if "reconstruct" in stages:
        summary = stages["reconstruct"][0].read_json(SUMMARY)
        metrics["reconstruction"] = {"in_words": summary["reconstruction_in_words"], **summary["reconstruction"]}
    made = {**stages, "footprint": list(footprints.values())}
    metrics["stages"] = {name: _cost(artifacts) for name, artifacts in made.items() if artifacts}
    if "search" in stages:
        metrics["search"] = _search(values["algorithm"], stages["search"][0])
    if "diagnose" in stages:
        metrics["diagnosis"] = stages["diagnose"][0].read_json(DIAGNOSIS_SUMMARY)
    metrics["parameters"] = values
    return metrics


def without_cached(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics without what this run found in the store, and how long it took: the same when it is repeated."""
    stages = {
        name: {key: value for key, value in cost.items() if key != "cached"} for name, cost in metrics["stages"].items()
    }
    return {**{name: value for name, value in metrics.items() if name != "times"}, "stages": stages}


def readable(evaluation: Mapping[str, Any]) -> str:
    """One model's scores and footprints, a line each."""
    settings = evaluation["settings"]
    lines = []
    if evaluation["perplexity"] is not None:
        lines.append(f"perplexity on {settings['text']}: {evaluation['perplexity']}")
    for task, scores in evaluation["tasks"].items():
        if "error" in scores:
            lines.append(f"{task} failed: {scores['error']}")
            continue
        for measure, score in scores.items():
            error = score.get("stderr")
            lines.append(f"{task} {measure}: {score['value']:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    lines += [
        f"{format}: {found['disk_bytes'] / 1e6:,.1f} MB on disk, {found['memory_bytes'] / 1e6:,.1f} MB in memory, "
        f"{found['tokens_per_second']:.1f} tokens/s"
        for format, found in evaluation.get("footprint", {}).items()
    ]
    return "\n".join(lines)


def _examples(evaluation: Artifact) -> dict[tuple[str, str], Examples]:
    return read_examples(pq.read_table(evaluation.path(EXAMPLES)))


def _cost(artifacts: list[Artifact]) -> dict[str, Any]:
    return {
        "seconds": round(sum(artifact.seconds for artifact in artifacts), 3),
        "peak_memory_bytes": max(artifact.peak_memory_bytes for artifact in artifacts),
        "cached": all(artifact.cached for artifact in artifacts),
    }


def _search(algorithm: str, found: Artifact) -> dict[str, Any]:
    """What the search measured for its recipe and for Wanda, on the same sequences."""
    trials = pq.read_table(found.path(TRIALS)).to_pylist()
    objectives = Recipe.load(found.path(RECIPE)).objectives
    chosen = next((trial for trial in trials if trial["chosen"]), None)
    sequences = chosen["sequences"] if chosen else max((trial["sequences"] for trial in trials), default=0)
    wanda = [
        trial
        for trial in trials
        if trial["stage"] == "reference" and trial["name"] == "wanda" and trial["sequences"] == sequences
    ]
    return {
        "trials": len(trials),
        "seconds": found.seconds,
        "algorithm": algorithm,
        "objectives": objectives,
        "wanda_objectives": {name: wanda[-1][name] for name in objectives if name in wanda[-1]} if wanda else {},
    }
