"""Stage 5: judge a model, ``evaluation.json``."""

import math
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optishear.errors import InputError
from optishear.evaluation.evaluate import evaluate
from optishear.models.layers import prunable_layers
from optishear.parameters import EvaluateStage
from optishear.pruning.apply import apply_recipe
from optishear.recipe import Recipe
from optishear.report.measures import as_number
from tasks.jsonfile import write_json
from tasks.keys import digest, folder_digest, model_digest, text_digest
from tasks.model_cache import shared_model, take_model
from tasks.stage import Stage
from tasks.statistics import STATISTICS, load_statistics
from tasks.store import Artifact, forget

EVALUATION = "evaluation.json"


def _inputs(
    parameters: EvaluateStage, recipe: Recipe | None = None, statistics: Artifact | None = None
) -> dict[str, str]:
    inputs = {"model": model_digest(parameters), "text": text_digest(parameters.evaluation_text)}
    if parameters.tasks:
        inputs["task_files"] = folder_digest(parameters.include_path)
        inputs["lm_eval"] = version("lm-eval")
    if recipe is not None and statistics is not None:
        inputs["recipe"] = digest(recipe.model_dump(mode="json"))
        inputs["statistics"] = statistics.digest(STATISTICS)
    return inputs


def _write(
    outputs: Path,
    parameters: EvaluateStage,
    recipe: Recipe | None = None,
    statistics: Artifact | None = None,
) -> None:
    """With a recipe, the model is pruned by it in memory first."""
    if recipe is None or statistics is None:
        with shared_model(parameters) as loaded:
            evaluation = evaluate(loaded.model, loaded.tokenizer, parameters, seed=parameters.seed)
            sparsity = fraction_of_zeros(loaded.model)
    else:
        loaded = take_model(parameters)
        sparsity = apply_recipe(loaded.model, recipe, load_statistics(statistics), progress=True).achieved_sparsity
        evaluation = evaluate(loaded.model, loaded.tokenizer, parameters, seed=parameters.seed)
    write_json(outputs / EVALUATION, {**evaluation.model_dump(), "sparsity": sparsity})


@torch.no_grad()
def fraction_of_zeros(model: nn.Module) -> float | None:
    """The fraction of zeros over the weights of the prunable layers; ``None`` where a model has no such layers."""
    try:
        weights = [layer.module.weight for layer in prunable_layers(model)]
    except InputError:  # it can still be judged
        return None
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def flat_scores(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    """The finite numbers of an evaluation under names such as ``perplexity`` and ``boolq/acc``."""
    flat = {name: as_number(evaluation.get(name)) for name in ("perplexity", "sparsity")}
    for task, scores in (evaluation.get("tasks") or {}).items():
        for measure, score in scores.items():
            if isinstance(score, dict):  # a task that failed holds the reason instead
                flat[f"{task}/{measure}"] = as_number(score["value"])
    return {name: value for name, value in flat.items() if value is not None and math.isfinite(value)}


def forget_failures(judged: Iterable[Artifact]) -> None:
    """Let evaluations in which a task failed be made again at the next run; once their results are laid out."""
    for artifact in judged:
        tasks = artifact.read_json(EVALUATION)["tasks"]
        if any("error" in scores for scores in tasks.values()):
            forget(artifact)


evaluate_stage = Stage(
    name="evaluate",
    version=1,
    parameters=("window_length", "windows", "tasks", "limit", "fewshot", "batch_size", "seed", "dtype"),
    inputs=_inputs,
    write=_write,
    scores=lambda judged: flat_scores(judged.read_json(EVALUATION)),
)
