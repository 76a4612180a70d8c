"""Do `run` at several sparsities, and plot perplexity against sparsity.

Calibration, statistics, the measurements of the search and the evaluation of the dense model are shared. Writes
to --output: a folder for each sparsity with the files of `run`, and sweep.html, sweep.parquet, sweep.png and
metrics.json over all of them. If a sparsity fails, the others are written; repeat the command to try it again.

\b
Example:
  optishear sweep --model HuggingFaceTB/SmolLM2-135M --sparsities 0.5,0.6,0.7,2:4 --output swept
"""

import logging
from dataclasses import replace
from pathlib import Path

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.pipeline import pipeline
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.prefect_page import show_results
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.errors import IncompleteError, first_line
from optishear.file_names import METRICS
from optishear.parameters.roles import without_places
from optishear.pattern import Pattern
from optishear.report.reproduce import command_line
from optishear.report.sweep import SweepCell, sweep_markdown, sweep_verdict
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import RunMetrics, SweepMetrics
from tasks.engine.precision import precision_of
from tasks.registration.metrics import flat_metrics
from tasks.registration.results import Attachments, register
from tasks.stages.sweep_report import SWEEP, SWEEP_FIGURE, SWEEP_PAGE, sweep_report_stage
from tasks.tracking.flow_runs import tracked_run

logger = logging.getLogger("optishear.stages")


@titled_flow("sweep")
def sweep(parameters: SweepParameters) -> str:
    """Run the pipeline at each sparsity, and write ``sweep.html``, ``sweep.parquet`` and ``sweep.png`` over them.

    Raises:
        IncompleteError: if a sparsity failed, once the others are laid out.
    """
    with output_folder("sweep", parameters) as output:
        check(parameters)
        with tracked_run("sweep", parameters, precision_of(parameters)) as run:
            cells = [_cell(sparsity, one) for sparsity, one in pipelines_of(parameters).items()]
            measured = {cell.sparsity: cell.metrics for cell in cells if cell.metrics is not None}
            failed = {str(cell.sparsity): cell.failure for cell in cells if cell.metrics is None}
            if not measured:
                raise IncompleteError(f"Every sparsity failed, the first because of: {next(iter(failed.values()))}.")
            values = without_places(parameters)
            metrics = SweepMetrics(
                model=values["model"],
                parameters=values,
                sparsities={str(sparsity): of_sparsity for sparsity, of_sparsity in measured.items()},
                failures=failed,
            )
            place_files(output, {}, {METRICS: metrics})
            shown = [replace(cell, metrics=cell.metrics and cell.metrics.repeatable()) for cell in cells]
            report = sweep_report_stage(parameters, shown, command_line("sweep", parameters))
            place_files(output, {name: report.path(name) for name in (SWEEP, SWEEP_FIGURE, SWEEP_PAGE)})
            table = sweep_markdown(cells)
            register(
                run,
                values,
                flat_metrics(metrics),
                Attachments(
                    tags={"mlflow.note.content": table},
                    files={
                        "": [output / name for name in (SWEEP_PAGE, SWEEP, METRICS)],
                        "figures": [output / SWEEP_FIGURE],
                    },
                ),
            )
            show_results("sweep", table, "perplexity at each sparsity", [output / SWEEP_FIGURE])
            if failed:
                raise IncompleteError(_words(failed, output))
    places = {"report": SWEEP_PAGE, "figure": SWEEP_FIGURE, "table": SWEEP, "metrics": METRICS}
    return f"{sweep_verdict(cells).sentence}\n\n{table}\n{where(output, places, run)}"


def _cell(sparsity: Pattern, parameters: PipelineParameters) -> SweepCell:
    """The metrics of ``run`` at one sparsity, or the reason of its failure."""
    try:
        pipeline(parameters)
    except Exception as error:  # whatever it is, the other sparsities are worth having
        reason = first_line(error)
        logger.error("%s failed: %s", sparsity, reason)
        return SweepCell(sparsity, failure=reason)
    return SweepCell(sparsity, read_metrics(parameters.output / METRICS, RunMetrics))


def _words(failed: dict[str, str], output: Path) -> str:
    sparsity, reason = next(iter(failed.items()))
    return (
        f"{len(failed)} of the sparsities failed, the first {sparsity} ({reason}); the others are in {str(output)!r}, "
        "and the same command makes only those that failed."
    )
