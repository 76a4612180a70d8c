"""What a comparison of search algorithms shows: ``algorithms.parquet``, ``algorithms.png`` and ``algorithms.html``."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optishear.file_names import TRIALS
from optishear.parameters.model import ModelParameters
from optishear.report.algorithms import algorithms
from optishear.report.compared import write_compared
from optishear.report.export import png
from optishear.searching.comparison import compare_searches
from optishear.units import Duration
from tasks.engine.stage import Stage
from tasks.store.artifacts import Artifact

ALGORITHMS = "algorithms.parquet"
ALGORITHMS_FIGURE = "algorithms.png"
ALGORITHMS_PAGE = "algorithms.html"


def _inputs(
    parameters: ModelParameters,
    searches: Mapping[tuple[str, int], Artifact],
    objective: str,
    budget: Duration | None,
    command: str,
) -> dict[str, str]:
    trials = {f"{algorithm} {seed}": artifact.digest(TRIALS) for (algorithm, seed), artifact in searches.items()}
    return {**trials, "model": parameters.model, "objective": objective, "budget": str(budget), "command": command}


def _write(
    outputs: Path,
    parameters: ModelParameters,
    searches: Mapping[tuple[str, int], Artifact],
    objective: str,
    budget: Duration | None,
    command: str,
) -> None:
    trials: dict[tuple[str, int], pa.Table] = {
        key: pq.read_table(artifact.path(TRIALS)) for key, artifact in searches.items()
    }
    table = compare_searches(trials, objective)
    pq.write_table(table, outputs / ALGORITHMS)
    (outputs / ALGORITHMS_FIGURE).write_bytes(png(algorithms(table, objective)))
    write_compared(outputs / ALGORITHMS_PAGE, table, objective, parameters.model, budget, command)


# What it shows is all in its inputs.
compare_report_stage = Stage(name="compare-report", version=1, parameters=(), inputs=_inputs, write=_write)
