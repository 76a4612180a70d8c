"""What the runs of a sweep show together: ``sweep.parquet``, ``sweep.png`` and ``sweep.html``."""

from pathlib import Path

import pyarrow.parquet as pq

from optishear.parameters.model import ModelParameters
from optishear.report.export import png
from optishear.report.sparsity_curve import perplexity_by_sparsity
from optishear.report.sweep import SweepCell
from optishear.report.sweep_page import write_sweep
from optishear.run_metrics.sweep import sweep_table
from tasks.engine.stage import Stage
from tasks.store.keys import digest

SWEEP = "sweep.parquet"
SWEEP_FIGURE = "sweep.png"
SWEEP_PAGE = "sweep.html"


def _inputs(parameters: ModelParameters, cells: list[SweepCell], command: str) -> dict[str, str]:
    shown = [[str(cell.sparsity), cell.metrics and cell.metrics.model_dump(), cell.failure] for cell in cells]
    return {"model": parameters.model, "cells": digest(shown), "command": command}


def _write(outputs: Path, parameters: ModelParameters, cells: list[SweepCell], command: str) -> None:
    pq.write_table(
        sweep_table({cell.sparsity: cell.metrics for cell in cells if cell.metrics is not None}), outputs / SWEEP
    )
    (outputs / SWEEP_FIGURE).write_bytes(png(perplexity_by_sparsity(cells)))
    write_sweep(outputs / SWEEP_PAGE, parameters.model, cells, command)


# What it shows is all in its inputs.
sweep_report_stage = Stage(name="sweep-report", version=1, parameters=(), inputs=_inputs, write=_write)
