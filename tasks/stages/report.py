"""Stage 7: ``report.html``, the comparison, the figures and the checkpoint's card."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optishear.file_names import COMPARISON, COMPARISON_TEXT, REPORT, TRIALS
from optishear.files import write_text
from optishear.parameters.model import ModelParameters
from optishear.pruning.card import model_card
from optishear.recipes.recipe import Recipe
from optishear.report.export import png
from optishear.report.figures import run_figures
from optishear.report.html import write_report
from optishear.report.tables import score_markdown
from optishear.run_metrics.comparison import comparison_table
from optishear.run_metrics.schema import RunMetrics
from tasks.engine.stage import Stage
from tasks.stages.diagnose import load_diagnosis
from tasks.stages.prune import checkpoint_metrics
from tasks.store.artifacts import Artifact
from tasks.store.keys import digest
from tasks.store.model_sources import find_model

CARD = "card.md"
FIGURES = "figures"


def _inputs(
    parameters: ModelParameters,
    metrics: RunMetrics,
    recipe: Recipe,
    command: str,
    pruned: Artifact,
    diagnosis: Artifact,
    search: Artifact | None = None,
) -> dict[str, str]:
    return {
        "metrics": digest(metrics.model_dump()),
        "recipe": digest(recipe.model_dump(mode="json")),
        "command": command,
        "pruned": pruned.key,
        "diagnosis": diagnosis.key,
        "trials": search.digest(TRIALS) if search else "",
    }


def _write(
    outputs: Path,
    parameters: ModelParameters,
    metrics: RunMetrics,
    recipe: Recipe,
    command: str,
    pruned: Artifact,
    diagnosis: Artifact,
    search: Artifact | None = None,
) -> None:
    trials = pq.read_table(search.path(TRIALS)) if search else pa.table({})
    figures = run_figures(metrics, recipe, trials, load_diagnosis(diagnosis))
    write_report(outputs / REPORT, metrics, recipe, figures, command)
    pq.write_table(comparison_table(metrics), outputs / COMPARISON)
    table = score_markdown(metrics)
    write_text(outputs / COMPARISON_TEXT, table)
    checkpoint = checkpoint_metrics(pruned)
    card = model_card(
        find_model(parameters.model),
        recipe,
        achieved_sparsity=checkpoint.achieved_sparsity,
        sparsity_of_all_matrices=checkpoint.sparsity_of_all_matrices,
        coverage=checkpoint.coverage,
        layers=checkpoint.layers,
        comparison=table,
        reconstruction=checkpoint.reconstruction_in_words,
        mask_rule=checkpoint.mask_rule,
        experts=checkpoint.experts_in_words,
    )
    write_text(outputs / CARD, card)
    (outputs / FIGURES).mkdir()
    for figure in figures:
        (outputs / FIGURES / f"{figure.name}.png").write_bytes(png(figure.drawing))


# What it shows is all in its inputs.
report_stage = Stage(name="report", version=7, parameters=(), inputs=_inputs, write=_write)
