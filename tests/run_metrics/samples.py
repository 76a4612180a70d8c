"""The metrics of a run that ends better than Wanda."""

import copy
from typing import Any

from optishear.run_metrics.schema import RunMetrics


def evaluation_values(perplexity: float | None, accuracy: float | None, sparsity: float) -> dict[str, Any]:
    """One model's evaluation, with two tasks where an accuracy is given."""
    tasks: dict[str, Any] = {}
    if accuracy is not None:
        tasks = {
            "local_boolq": {"acc": {"value": accuracy, "stderr": 0.011}},
            "local_arc_easy": {
                "acc": {"value": accuracy - 0.11, "stderr": 0.0102},
                "acc_norm": {"value": accuracy - 0.13, "stderr": None},
            },
        }
    settings = {"examples": 1000, "fewshot": 0, "max_length": 2048, "version": "1"}
    return {
        "perplexity": perplexity,
        "sparsity": sparsity,
        "sparsity_of_all_matrices": sparsity,
        "tasks": tasks,
        "settings": {
            "text": "python-docs",
            "window_length": 1024,
            "windows": None if perplexity is None else 16,
            "suite": None,
            "limit": 1000,
            "fewshot": None,
            "batch_size": 1,
            "seeds": {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234},
            "lm_eval": "0.4.9" if tasks else None,
            "tasks": dict.fromkeys(tasks, settings),
        },
    }


def footprint_values(disk: int, memory: int, speed: float, sparse_layers: int = 0) -> dict[str, Any]:
    """What a model takes in one format."""
    return {
        "disk_bytes": disk,
        "memory_bytes": memory,
        "tokens_per_second": speed,
        "device": "cpu",
        "sparse_layers": sparse_layers,
    }


def metrics_values(
    dense: float | None = 22.88, wanda: float | None = 47.81, pruned: float | None = 44.1, tasks: bool = True
) -> dict[str, Any]:
    """The content of ``metrics.json``."""
    no_differences: dict[str, Any] = {"perplexity": None, "tasks": {}}
    metrics: dict[str, Any] = {
        "schema_version": 1,
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "parameters": {"sparsity": "0.5"},
        "sparsity": "0.5",
        "calibration": "self",
        "precision": {"dtype": "bfloat16", "reason": "fast on this processor"},
        "dense": evaluation_values(dense, 0.612 if tasks else None, 0.0),
        "wanda": evaluation_values(wanda, 0.564 if tasks else None, 0.5),
        "pruned": evaluation_values(pruned, 0.577 if tasks else None, 0.5001),
        "differences": {"wanda": no_differences, "dense": no_differences},
        "achieved_sparsity": 0.5001,
        "sparsity_of_all_matrices": 0.5001,
        "coverage": {"matrix_weights": 1000, "prunable_weights": 1000, "left_out": {}},
        "stages": {
            "calibrate": {"seconds": 41.2, "peak_memory_bytes": 1_310_720_000, "cached": False},
            "statistics": {"seconds": 9.8, "peak_memory_bytes": 1_210_720_000, "cached": True},
            "search": {"seconds": 9420.0, "peak_memory_bytes": 3_310_720_000, "cached": False},
            "prune": {"seconds": 3.3, "peak_memory_bytes": 900_000_000, "cached": False},
            "evaluate": {"seconds": 312.0, "peak_memory_bytes": 905_000_000, "cached": False},
        },
        "search": {
            "trials": 300,
            "seconds": 9400.0,
            "algorithm": "nsga3",
            "objectives": {"kl": 0.704, "sparsity_distance": 0.0},
            "wanda_objectives": {"kl": 0.862, "sparsity_distance": 0.0},
            "ratio_priors": {"linear 0.1": 0.75, "dlp": 0.9},
        },
    }
    metrics["dense"]["footprint"] = {"dense": footprint_values(269_000_000, 270_000_000, 20.0)}
    metrics["pruned"]["footprint"] = {
        "dense": footprint_values(269_000_000, 270_000_000, 20.0),
        "bitmask": footprint_values(176_000_000, 178_000_000, 34.0, sparse_layers=210),
    }
    return metrics


def make_metrics(
    dense: float | None = 22.88, wanda: float | None = 47.81, pruned: float | None = 44.1, tasks: bool = True
) -> RunMetrics:
    """The metrics of a run, with these perplexities."""
    return RunMetrics.model_validate(metrics_values(dense, wanda, pruned, tasks))


def changed(metrics: RunMetrics, changes: dict[str, Any]) -> RunMetrics:
    """The metrics with other values at some places, such as ``pruned.perplexity``."""
    values = copy.deepcopy(metrics.model_dump())
    for place, value in changes.items():
        *sections, name = place.split(".")
        section = values
        for key in sections:
            section = section[key]
        section[name] = value
    return RunMetrics.model_validate(values)


def beside_sparsegpt(perplexity: float | None = 40.4, **changes: Any) -> RunMetrics:
    """The metrics of a run that is compared with SparseGPT, with times; ``changes`` are those of ``make_metrics``."""
    metrics = make_metrics(**changes)
    accuracy = 0.57 if changes.get("tasks", True) else None
    return changed(
        metrics,
        {
            "sparsegpt": evaluation_values(perplexity, accuracy, 0.5),
            "differences.sparsegpt": {"perplexity": None, "tasks": {}},
            "making_seconds": {"wanda": 10.2, "sparsegpt": 47.5, "pruned": 9433.1},
        },
    )
