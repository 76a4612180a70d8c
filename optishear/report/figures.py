"""The figures of a run, in the order in which a reader meets them."""

from dataclasses import dataclass

import pyarrow as pa
from matplotlib.figure import Figure

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.recipes.recipe import Recipe
from optishear.report import captions
from optishear.report.alignment import alignment_by_layer
from optishear.report.comparison import comparison
from optishear.report.distributions import distributions
from optishear.report.layer_errors import layer_errors
from optishear.report.pareto import pareto_front
from optishear.report.progress import search_progress
from optishear.report.ratios import layer_ratios
from optishear.report.recovery import recovery_curve
from optishear.report.steps import perplexity_steps, steps
from optishear.run_metrics.schema import RunMetrics


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its words.

    Attributes:
        name: for files and ids, such as ``layer-ratios``.
        title: what it answers.
        drawing: the figure in the light theme; the page derives the dark one.
        caption: what to look for, one sentence or two.
    """

    name: str
    title: str
    drawing: Figure
    caption: str


def run_figures(
    metrics: RunMetrics, recipe: Recipe, trials: pa.Table, diagnosis: Diagnosis | None = None
) -> list[ReportFigure]:
    """The figures of a run; those for which there is nothing to draw are left out.

    Args:
        metrics: of the run.
        recipe: the searched recipe.
        trials: the table of ``trials.parquet``, without rows where nothing was searched.
        diagnosis: the pruned model layer by layer.
    """
    compared = "Dense, Wanda, SparseGPT and pruned" if metrics.sparsegpt is not None else "Dense, Wanda and pruned"
    figures = [ReportFigure("comparison", compared, comparison(metrics), captions.comparison(metrics))]
    if values := perplexity_steps(metrics):
        figures.append(ReportFigure("steps", "What each part brought", steps(values), captions.steps(values)))
    figures += [
        ReportFigure("layer-ratios", "Sparsity of each layer", layer_ratios(recipe), captions.ratios(recipe)),
    ]
    if trials.num_rows:
        figures += [
            ReportFigure("search-progress", "Search progress", search_progress(trials), captions.progress(trials)),
            ReportFigure("pareto-front", "Candidates and Pareto front", pareto_front(trials), captions.pareto(trials)),
        ]
    if metrics.recovery is not None:
        recovery = metrics.recovery
        figures.append(ReportFigure("recovery", "Recovery", recovery_curve(recovery), captions.recovery(recovery)))
    if diagnosis is not None:
        figures += [
            ReportFigure(
                "layer-errors", "Error of each layer", layer_errors(diagnosis), captions.layer_errors(diagnosis)
            ),
            ReportFigure(
                "alignment",
                "Alignment of weights and activations",
                alignment_by_layer(diagnosis.alignment),
                captions.alignment(diagnosis),
            ),
            ReportFigure(
                "distributions",
                "Weights and activations under the metric",
                distributions(diagnosis.distributions),
                captions.distributions(),
            ),
        ]
    return figures
