"""The second half of the pipeline and of the transfer: prune by a recipe, evaluate, report, lay out, register."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from flows.shared.output_folder import place_files
from flows.shared.prefect_page import show_mlflow_run, show_results
from flows.shared.promotion_event import announce_promotion
from flows.shared.sparsegpt import sparsegpt_of
from flows.shared.summary import mlflow_page, where, zeros_in_words
from optishear.file_names import (
    CALIBRATION,
    CHECKPOINT,
    COMPARISON,
    COMPARISON_TEXT,
    DIAGNOSIS,
    FRONT,
    METRICS,
    RECIPE,
    REPORT,
    STATISTICS,
    TRIALS,
)
from optishear.recipes.recipe import Recipe, published_beside
from optishear.run_metrics.schema import RunMetrics
from tasks.engine.model_cache import release_model
from tasks.engine.parameter_groups import part
from tasks.engine.timetable import current_timetable
from tasks.registration.datasets import dataset_inputs
from tasks.registration.metrics import flat_metrics, run_metrics
from tasks.registration.results import Attachments, register, register_model
from tasks.stages.evaluate import evaluate_stage, forget_failures
from tasks.stages.footprint import footprint_stage
from tasks.stages.parameters import EvaluateStageParameters
from tasks.stages.prune import prune_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.recover import recover_stage
from tasks.stages.report import CARD, FIGURES, report_stage
from tasks.store.artifacts import Artifact
from tasks.tracking.mlflow_run import TrackedRun

COMPARISON_TABLE = "comparison.json"


def prune_and_evaluate(
    parameters: PruneAndEvaluateParameters, recipe: Recipe, calibration: Artifact, statistics: Artifact
) -> tuple[dict[str, Artifact], dict[str, Artifact]]:
    """Prune the model, and evaluate it beside the dense one, and beside Wanda and SparseGPT at the same sparsity.

    Returns:
        The stages ``prune`` and, where weights are reconstructed and recovered, ``reconstruct`` and ``recover``, and
        where it is compared ``sparsegpt``; and the evaluations of ``dense``, ``wanda``, ``sparsegpt`` and ``pruned``.
        By perplexity alone, there are those of the model before each of the two: ``masked``, and ``reconstructed``
        where both are done.
    """
    dense = part(parameters, EvaluateStageParameters)
    evaluations = {"dense": evaluate_stage.labelled("evaluate dense")(dense)}
    wanda = published_beside("wanda", recipe)
    evaluations["wanda"] = evaluate_stage.labelled("evaluate wanda")(dense, wanda, statistics)
    stages: dict[str, Artifact] = {}
    if parameters.with_sparsegpt:
        # SparseGPT takes from the recipe only what is pruned, and how much.
        by_sparsegpt = reconstruct_stage.labelled("sparsegpt")
        stages["sparsegpt"] = by_sparsegpt(sparsegpt_of(parameters), wanda, calibration, statistics)
        model = str(stages["sparsegpt"].path(CHECKPOINT))
        made = part(parameters, EvaluateStageParameters, model=model)
        evaluations["sparsegpt"] = evaluate_stage.labelled("evaluate sparsegpt")(made)
    stages["prune"] = prune_stage(parameters, recipe, statistics)

    def evaluate_so_far(label: str) -> None:
        before = part(
            parameters, EvaluateStageParameters, model=str(final_checkpoint(stages).path(CHECKPOINT)), tasks=[]
        )
        evaluations[label] = evaluate_stage.labelled(f"evaluate {label}")(before)

    if parameters.reconstructs:
        evaluate_so_far("masked")
        stages["reconstruct"] = reconstruct_stage(parameters, recipe, calibration, statistics)
    if parameters.recovers:
        evaluate_so_far("reconstructed" if parameters.reconstructs else "masked")
        stages["recover"] = recover_stage(parameters, recipe, final_checkpoint(stages))
    # The written checkpoint is evaluated, as a user would load it.
    pruned = part(parameters, EvaluateStageParameters, model=str(final_checkpoint(stages).path(CHECKPOINT)))
    evaluations["pruned"] = evaluate_stage.labelled("evaluate pruned")(pruned)
    release_model()
    return stages, evaluations


def final_checkpoint(stages: Mapping[str, Artifact]) -> Artifact:
    """The stage whose checkpoint is the result."""
    return stages.get("recover") or stages.get("reconstruct") or stages["prune"]


def measure_footprints(parameters: PruneAndEvaluateParameters, checkpoint: Artifact) -> dict[str, Artifact]:
    """The footprints of the models ``dense`` and ``pruned``; empty if ``footprint`` is off."""
    if not parameters.footprint:
        return {}
    models = {"dense": parameters.model, "pruned": str(checkpoint.path(CHECKPOINT))}
    footprints = {
        name: footprint_stage.labelled(f"footprint {name}")(part(parameters, EvaluateStageParameters, model=model))
        for name, model in models.items()
    }
    release_model()
    return footprints


def publish_results(
    parameters: PruneAndEvaluateParameters,
    output: Path,
    run: TrackedRun,
    recipe: Recipe,
    stages: Mapping[str, Artifact],
    evaluations: Mapping[str, Artifact],
    command: str,
) -> str:
    """Measure the footprints; report, register and write the results.

    Args:
        parameters: of the flow.
        output: folder for the results.
        run: the MLflow run.
        recipe: the recipe that was applied.
        stages: the artifact of each stage before the evaluation, by the stage's name.
        evaluations: the evaluations of the compared models.
        command: the command line that repeats the run.

    Returns:
        The printed summary.
    """
    artifacts = {**{name: [artifact] for name, artifact in stages.items()}, "evaluate": list(evaluations.values())}
    checkpoint = final_checkpoint(stages)
    footprints = measure_footprints(parameters, checkpoint)
    metrics = run_metrics(parameters, recipe, stages, evaluations, footprints)
    search = stages.get("search")
    diagnosis = stages["diagnose"]
    report = report_stage(parameters, metrics.repeatable(), recipe, command, checkpoint, diagnosis, search)
    files = {
        CALIBRATION: stages["calibrate"].path(CALIBRATION),
        STATISTICS: stages["statistics"].path(STATISTICS),
        CHECKPOINT: checkpoint.path(CHECKPOINT),
        f"{CHECKPOINT}/README.md": report.path(CARD),
        RECIPE: checkpoint.path(CHECKPOINT) / RECIPE,
        DIAGNOSIS: diagnosis.path(DIAGNOSIS),
        COMPARISON: report.path(COMPARISON),
        REPORT: report.path(REPORT),
    }
    if search is not None:
        files |= {TRIALS: search.path(TRIALS), FRONT: search.path(FRONT)}
    timetable = current_timetable()
    if timetable is not None:
        metrics = metrics.model_copy(update={"times": timetable.times()})
    place_files(output, files, {METRICS: metrics})
    forget_failures(evaluations.values())
    table = report.path(COMPARISON_TEXT).read_text(encoding="utf-8").strip()
    figures = sorted(report.path(FIGURES).iterdir())
    registered = register_model(run, parameters, recipe, checkpoint, evaluations, metrics, table)
    if registered.promoted:
        announce_promotion(registered, mlflow_page(run))
    metrics = metrics.model_copy(update={"registered": registered.registration})
    place_files(output, {}, {METRICS: metrics})
    names = [name for name in (RECIPE, REPORT, METRICS, COMPARISON, TRIALS) if (output / name).exists()]
    register(
        run,
        metrics.parameters,
        flat_metrics(metrics),
        Attachments(
            tags={
                "checkpoint": str((output / CHECKPOINT).absolute()),
                "registered_model": registered.name,
                "model_version": registered.version,
                "sparsity": metrics.sparsity,
                "promoted": "yes" if registered.champion else "no",
                "promotion": registered.reason,
                "mlflow.note.content": f"{table}\n\n{registered.reason}",
            },
            inputs=dataset_inputs(artifacts, parameters.calibration, parameters.evaluation_text),
            tables={COMPARISON_TABLE: pq.read_table(report.path(COMPARISON))},
            files={
                "": [output / name for name in names],
                DIAGNOSIS: sorted((output / DIAGNOSIS).iterdir()),
                FIGURES: figures,
            },
        ),
    )
    _show_in_prefect(f"{table}\n\n{registered.reason}", figures, run)
    places = {"report": REPORT, "model": CHECKPOINT, "recipe": RECIPE, "metrics": METRICS}
    version = f"Registered as version {registered.version} of {registered.name}. {registered.reason}"
    return f"{_headline(metrics)}\n\n{table}\n\n{version}\n\n{where(output, places, run)}"


def _headline(metrics: RunMetrics) -> str:
    cached = all(cost.cached for cost in metrics.stages.values())
    outcome = "Nothing had to be computed again." if cached else "Done."
    return f"{outcome} {zeros_in_words(metrics, metrics.model)} are zero." + (
        f" Perplexity is on the text {metrics.dense.settings.text}." if metrics.dense.perplexity is not None else ""
    )


def _show_in_prefect(table: str, figures: list[Path], run: TrackedRun) -> None:
    """Put the table, the figures and a link on the run's page."""
    show_results("comparison", table, "dense, published methods and the searched recipe", figures)
    show_mlflow_run(run)
