"""The flow that compares search algorithms at one budget."""

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow

from flows.checks import check
from flows.layout import output_folder
from flows.summary import where
from optishear.files import write_aside
from optishear.parameters import CompareStage, SearchStage
from optishear.report.algorithms import algorithms
from optishear.report.export import png
from optishear.searching.comparison import compare_searches
from tasks.calibrate import calibrate_stage
from tasks.parts import part
from tasks.search import TRIALS, search_stage
from tasks.statistics import statistics_stage

COMPARED = "algorithms.parquet"
FIGURE = "algorithms.png"


@flow(name="compare")
def compare(parameters: CompareStage) -> str:
    """Write ``algorithms.parquet`` and ``algorithms.png``; returns where.

    All searches share calibration and statistics, which are made with the flow's own seed; each search is a cached
    task, so that one more seed costs one more search.
    """
    with output_folder(parameters.output) as output:
        check(parameters)
        blocks = calibrate_stage(parameters)
        observed = statistics_stage(parameters, blocks)
        objective = parameters.divergences[0]
        searches: dict[tuple[str, int], pa.Table] = {}
        for algorithm in parameters.algorithms:
            for seed in parameters.seeds:
                one = part(parameters, SearchStage, algorithm=algorithm, seed=seed)
                found = search_stage.labelled(f"search {algorithm}, seed {seed}")(one, blocks, observed)
                searches[algorithm, seed] = pq.read_table(found.path(TRIALS))
        compared = compare_searches(searches, objective)
        with write_aside(output / COMPARED) as aside:
            pq.write_table(compared, aside)
        with write_aside(output / FIGURE) as aside:
            aside.write_bytes(png(algorithms(compared, objective)))
    return where(output, {"table": COMPARED, "figure": FIGURE})


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("compare")
