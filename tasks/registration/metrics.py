"""The numbers of a run, put together from the artifacts of its stages."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow.parquet as pq

from optishear.evaluation.differences import Differences, differences
from optishear.evaluation.examples import Examples, read_examples
from optishear.evaluation.harness import failure_of, measures_of
from optishear.file_names import FRONT, RECIPE, STATISTICS, TRIALS
from optishear.parameters.model import ModelParameters
from optishear.parameters.roles import without_places
from optishear.parameters.search import SearchParameters
from optishear.recipes.recipe import Recipe
from optishear.run_metrics.checkpoint import CheckpointMetrics
from optishear.run_metrics.evaluated_model import EvaluatedModel, footprint_numbers
from optishear.run_metrics.measures import perplexities
from optishear.run_metrics.schema import (
    DenseLayers,
    DensePoint,
    EvaluationMetrics,
    ExpertTokens,
    Model,
    OtherModel,
    ReconstructionSection,
    RunMetrics,
    SearchMetrics,
    StageCost,
    SweepMetrics,
)
from optishear.statistics.statistics import EXPERT_TOKENS, Statistics
from tasks.engine.precision import precision_of
from tasks.stages.calibrate import load_calibration
from tasks.stages.diagnose import summary_of
from tasks.stages.evaluate import EXAMPLES, evaluation_of
from tasks.stages.footprint import footprints_of
from tasks.stages.prune import checkpoint_metrics
from tasks.store.artifacts import Artifact


def run_metrics(
    parameters: ModelParameters,
    recipe: Recipe,
    stages: Mapping[str, Artifact],
    evaluations: Mapping[str, Artifact],
    footprints: Mapping[str, Artifact],
) -> RunMetrics:
    """Put together what the stages of a pruned model measured.

    Args:
        parameters: of the run.
        recipe: what the model was pruned by.
        stages: the artifact of each stage before the evaluation, by the stage's name.
        evaluations: those of ``dense``, ``wanda`` and ``pruned``, of ``sparsegpt`` where it is compared; and, where
            weights were reconstructed or recovered, ``masked`` and ``reconstructed``, which are the pruned one before.
        footprints: of ``dense`` and ``pruned``, where they were measured.
    """
    values = without_places(parameters)
    models = {name: _evaluated(artifact, footprints.get(name)) for name, artifact in evaluations.items()}
    checkpoint = checkpoint_metrics(stages.get("recover") or stages.get("reconstruct") or stages["prune"])
    costs = {name: [artifact] for name, artifact in stages.items()}
    return RunMetrics(
        model=values["model"],
        parameters=values,
        sparsity=str(recipe.sparsity),
        calibration=values["calibration"],
        calibration_documents=load_calibration(stages["calibrate"]).documents,
        precision=precision_of(parameters),
        dense=models["dense"],
        wanda=models["wanda"],
        sparsegpt=models.get("sparsegpt"),
        pruned=models["pruned"],
        masked=models.get("masked"),
        reconstructed=models.get("reconstructed"),
        differences=_differences(models, evaluations),
        making_seconds=_making_seconds(models, stages, checkpoint),
        achieved_sparsity=checkpoint.achieved_sparsity,
        sparsity_of_all_matrices=checkpoint.sparsity_of_all_matrices,
        coverage=checkpoint.coverage,
        dense_layers=_dense_layers(values, recipe, checkpoint, stages.get("search")),
        experts=_expert_tokens(Statistics.load(stages["statistics"].path(STATISTICS))),
        reconstruction=_reconstruction(checkpoint_metrics(stages["reconstruct"])) if "reconstruct" in stages else None,
        recovery=checkpoint.recovery,
        stages=_costs(
            {**costs, "evaluate": list(evaluations.values()), "footprint": list(footprints.values())},
        ),
        search=_search(values["algorithm"], stages["search"]) if "search" in stages else None,
        diagnosis=summary_of(stages["diagnose"]) if "diagnose" in stages else None,
    )


def evaluation_metrics(
    parameters: ModelParameters, evaluation: Artifact, footprint: Artifact | None
) -> EvaluationMetrics:
    """Put together what was measured of one model.

    Args:
        parameters: of the run.
        evaluation: of the model.
        footprint: of the model, where it was measured.
    """
    values = without_places(parameters)
    return EvaluationMetrics(
        model=values["model"],
        parameters=values,
        precision=precision_of(parameters),
        evaluation=_evaluated(evaluation, footprint),
        stages=_costs({"evaluate": [evaluation], "footprint": [footprint] if footprint else []}),
    )


def flat_metrics(metrics: RunMetrics | EvaluationMetrics | SweepMetrics) -> dict[str, float]:
    """The numbers for MLflow, under names such as ``pruned/perplexity`` and ``seconds/search``."""
    if isinstance(metrics, SweepMetrics):
        return {
            f"{sparsity}/{name}": value
            for sparsity, of_sparsity in metrics.sparsities.items()
            for name, value in flat_metrics(of_sparsity).items()
        }
    flat = _flat_costs(metrics.stages)
    if isinstance(metrics, EvaluationMetrics):
        return flat | _flat_model("evaluation", metrics.evaluation)
    flat |= {
        "achieved_sparsity": metrics.achieved_sparsity,
        "sparsity_of_all_matrices": metrics.sparsity_of_all_matrices,
        "prunable_share": metrics.coverage.prunable_share,
    }
    if metrics.dense_layers is not None:
        flat |= {"dense_share": metrics.dense_layers.share, "dense_layers": float(len(metrics.dense_layers.names))}
        flat |= {
            f"dense_front/{point.share:.4f}/{name}": value
            for point in metrics.dense_layers.front
            for name, value in point.objectives.items()
        }
    for name, model in metrics.compared_models.items():
        flat |= _flat_model(name, model)
    flat |= ratios_to_dense(metrics)
    flat |= {f"{name}/making_seconds": seconds for name, seconds in metrics.making_seconds.items()}
    for step, before in metrics.steps.items():
        flat |= _flat_model(step, before)
    if metrics.recovery is not None:
        recovery = metrics.recovery
        flat |= {"recovery/kl_before": recovery.before, "recovery/kl_after": recovery.after}
        flat |= {"recovery/tokens": recovery.tokens, "recovery/seconds": recovery.seconds}
    if metrics.diagnosis is not None:
        flat |= {f"diagnosis/{name}": value for name, value in metrics.diagnosis.numbers().items()}
    return flat | _flat_search(metrics.search) if metrics.search else flat


def ratios_to_dense(metrics: RunMetrics) -> dict[str, float]:
    """``wanda/ratio_to_dense`` and so on: perplexity over the dense model's, where it is finite."""
    dense = metrics.dense.perplexity
    if dense is None or not math.isfinite(dense):
        return {}
    return {
        f"{name}/ratio_to_dense": perplexity / dense
        for name, perplexity in perplexities(metrics).items()
        if name != "dense" and perplexity is not None and math.isfinite(perplexity)
    }


def flat_search(parameters: SearchParameters, stages: Mapping[str, Artifact]) -> dict[str, float]:
    """The numbers of a search alone, under the names that ``flat_metrics`` gives them.

    Args:
        parameters: of the search.
        stages: the artifact of each stage up to the search, by the stage's name.
    """
    costs = _costs({name: [artifact] for name, artifact in stages.items()})
    return _flat_costs(costs) | _flat_search(_search(parameters.algorithm, stages["search"]))


def readable(model: EvaluatedModel) -> str:
    """One model's scores and footprints, a line each."""
    lines = []
    if model.perplexity is not None:
        lines.append(f"perplexity on {model.settings.text}: {model.perplexity}")
    for task, result in model.tasks.items():
        failure = failure_of(result)
        if failure is not None:
            lines.append(f"{task} failed: {failure}")
        for metric, measure in measures_of(result).items():
            error = measure["stderr"]
            lines.append(f"{task} {metric}: {measure['value']:.4f}" + (f" ± {error:.4f}" if error is not None else ""))
    lines += [
        f"{format}: {footprint.disk_bytes / 1e6:,.1f} MB on disk, {footprint.memory_bytes / 1e6:,.1f} MB in memory, "
        f"{footprint.tokens_per_second:.1f} tokens/s"
        for format, footprint in model.footprint.items()
    ]
    return "\n".join(lines)


def _flat_costs(stages: Mapping[str, StageCost]) -> dict[str, float]:
    return {
        f"{measure}/{name}": value
        for name, cost in stages.items()
        for measure, value in (("seconds", cost.seconds), ("peak_memory_bytes", cost.peak_memory_bytes))
    }


def _flat_search(search: SearchMetrics) -> dict[str, float]:
    owners = {
        "objectives": search.objectives,
        "wanda_objectives": search.wanda_objectives,
        "ratio_priors": {name.replace(" ", "_"): value for name, value in search.ratio_priors.items()},
    }
    return {f"search/{owner}/{name}": value for owner, values in owners.items() for name, value in values.items()}


def _flat_model(name: str, model: EvaluatedModel) -> dict[str, float]:
    numbers = {**model.finite_scores(), **footprint_numbers(model.footprint)}
    return {f"{name}/{measure}": value for measure, value in numbers.items()}


def _evaluated(evaluation: Artifact, footprint: Artifact | None) -> EvaluatedModel:
    model = evaluation_of(evaluation)
    return model.model_copy(update={"footprint": footprints_of(footprint)}) if footprint else model


def _differences(
    models: Mapping[str, EvaluatedModel], evaluations: Mapping[str, Artifact]
) -> dict[OtherModel, Differences]:
    """The pruned model less each of the others."""
    candidates: tuple[OtherModel, ...] = ("wanda", "sparsegpt", "dense")
    others = [other for other in candidates if other in models]
    examples = {name: _examples(artifact) for name, artifact in evaluations.items()}
    return {
        other: differences(models["pruned"], models[other], examples["pruned"], examples[other]) for other in others
    }


def _making_seconds(
    models: Mapping[str, EvaluatedModel], stages: Mapping[str, Artifact], checkpoint: CheckpointMetrics
) -> dict[Model, float]:
    """Seconds that each compared model but the dense one took from the calibration text on.

    The statistics count for Wanda and for the pruned model, which both read them. SparseGPT makes its own. The search
    of a recipe that was given is not known.
    """
    statistics = stages["statistics"].seconds
    seconds: dict[Model, float] = {}
    if models["wanda"].masking_seconds is not None:
        seconds["wanda"] = statistics + models["wanda"].masking_seconds
    if "sparsegpt" in stages:
        seconds["sparsegpt"] = stages["sparsegpt"].seconds
    # A reconstruction makes its masks itself; the masked checkpoint is there to be evaluated.
    own = ["search", "reconstruct" if "reconstruct" in stages else "prune", "recover"]
    seconds["pruned"] = statistics + sum(stages[name].seconds for name in own if name in stages)
    if checkpoint.recovery is not None:
        # A recovery that was stopped and went on has trained in more than one process.
        seconds["pruned"] += max(0.0, checkpoint.recovery.seconds - stages["recover"].seconds)
    return {name: round(value, 3) for name, value in seconds.items()}


def _examples(evaluation: Artifact) -> dict[tuple[str, str], Examples]:
    return read_examples(pq.read_table(evaluation.path(EXAMPLES)))


def _dense_layers(
    values: Mapping[str, Any], recipe: Recipe, checkpoint: CheckpointMetrics, search: Artifact | None
) -> DenseLayers | None:
    """The dense layers of a recipe with layers of unlike N:M patterns."""
    if not recipe.dense_share and not recipe.layer_patterns:
        return None
    return DenseLayers(
        asked=values.get("dense_share") or recipe.dense_share,
        share=round(1 - checkpoint.achieved_sparsity / recipe.sparsity.fraction, 9),
        names=[name for name, zeros in checkpoint.layers.items() if not zeros],
        denser=recipe.layers_between(checkpoint.layers),
        front=_dense_front(search) if search is not None else [],
    )


def _dense_front(search: Artifact) -> list[DensePoint]:
    recipes = [Recipe.load(file) for file in search.path(FRONT).iterdir()]
    points = [
        DensePoint(
            share=recipe.dense_share,
            objectives={name: value for name, value in recipe.objectives.items() if name != "dense_share"},
        )
        for recipe in recipes
    ]
    return sorted(points, key=lambda point: point.share)


def _expert_tokens(statistics: Statistics) -> ExpertTokens | None:
    if not statistics.tokens:
        return None
    return ExpertTokens(
        layers=len(statistics.tokens), smallest_tokens=EXPERT_TOKENS, few_tokens=dict(statistics.few_tokens)
    )


def _reconstruction(checkpoint: CheckpointMetrics) -> ReconstructionSection:
    assert checkpoint.reconstruction is not None  # the stage writes no checkpoint without
    return ReconstructionSection(in_words=checkpoint.reconstruction_in_words, **dict(checkpoint.reconstruction))


def _costs(artifacts: Mapping[str, list[Artifact]]) -> dict[str, StageCost]:
    """What each stage took; the stages that did not run are left out."""
    return {
        name: StageCost(
            seconds=round(sum(artifact.seconds for artifact in of_stage), 3),
            peak_memory_bytes=max(artifact.peak_memory_bytes for artifact in of_stage),
            cached=all(artifact.cached for artifact in of_stage),
        )
        for name, of_stage in artifacts.items()
        if of_stage
    }


def measured_of(trial: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """Those of the values by name that were measured of a trial; reconstructed ones only of finalists.

    Args:
        trial: a row of ``trials.parquet``.
        names: of objectives.
    """
    return {name: trial[name] for name in names if trial.get(name) is not None}


def _search(algorithm: str, search: Artifact) -> SearchMetrics:
    """What the search measured for its recipe and for Wanda, on the same sequences."""
    trials: list[dict[str, Any]] = pq.read_table(search.path(TRIALS)).to_pylist()
    recipe = Recipe.load(search.path(RECIPE))
    objectives = recipe.objectives
    chosen = next((trial for trial in trials if trial["chosen"]), None)
    sequences = chosen["sequences"] if chosen else max((trial["sequences"] for trial in trials), default=0)
    wanda = [
        trial
        for trial in trials
        if trial["stage"] == "reference" and trial["name"] == "wanda" and trial["sequences"] == sequences
    ]
    return SearchMetrics(
        trials=len(trials),
        seconds=search.seconds,
        algorithm=algorithm,
        objectives=dict(objectives),
        wanda_objectives=measured_of(wanda[-1], objectives) if wanda else {},
        ratio_priors=dict(recipe.origin.get("ratio_priors", {})),
    )
