"""Search with several algorithms and seeds at one budget, and plot the best value against trials.

Writes algorithms.html, algorithms.parquet (the best value of each search after each trial; a search that ends
before the longest one keeps its best) and algorithms.png to --output.

\b
Example:
  optishear compare --algorithms nsga3,evopress,random --seeds 0,1,2 --trials 200 --output compared
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import flow

from flows.parameters.compare import CompareParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder
from flows.shared.prefect_page import show_results
from flows.shared.summary import where
from optishear.files import write_aside
from optishear.parameters.roles import without_places
from optishear.report.algorithms import algorithms
from optishear.report.compared import compared_markdown, compared_words, write_compared
from optishear.report.export import png
from optishear.report.reproduce import command_line
from optishear.searching.comparison import compare_searches
from tasks.engine.parameter_groups import part
from tasks.engine.precision import precision_of
from tasks.registration.results import Attachments, register
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.search import TRIALS, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.tracking.flow_runs import tracked_run

COMPARED = "algorithms.parquet"
FIGURE = "algorithms.png"
PAGE = "algorithms.html"


@flow(name="compare")
def compare(parameters: CompareParameters) -> str:
    """Write ``algorithms.html``, ``algorithms.parquet`` and ``algorithms.png``; returns what came out and where it is.

    All searches share calibration and statistics, which are made with the flow's own seed; each search is a cached
    task, so that one more seed costs one more search.
    """
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("compare", parameters, precision_of(parameters)) as run:
            blocks = calibrate_stage(parameters)
            observed = statistics_stage(parameters, blocks)
            objective = parameters.divergences[0]
            searches: dict[tuple[str, int], pa.Table] = {}
            for algorithm in parameters.algorithms:
                for seed in parameters.seeds:
                    one = part(parameters, SearchStageParameters, algorithm=algorithm, seed=seed)
                    found = search_stage.labelled(f"search {algorithm}, seed {seed}")(one, blocks, observed)
                    searches[algorithm, seed] = pq.read_table(found.path(TRIALS))
            compared = compare_searches(searches, objective)
            values = without_places(parameters)
            _lay_out(output, compared, objective, parameters)
            text = "\n\n".join([*compared_words(compared, objective, parameters.budget), compared_markdown(compared)])
            last = {(row["algorithm"], row["seed"]): row["best"] for row in compared.to_pylist()}
            register(
                run,
                values,
                {f"{algorithm}/seed_{seed}/{objective}": best for (algorithm, seed), best in last.items()},
                Attachments(
                    tags={"mlflow.note.content": text},
                    files={"": [output / COMPARED, output / PAGE], "figures": [output / FIGURE]},
                ),
            )
            show_results("algorithms", text, "the best value of each algorithm", [output / FIGURE])
        return f"{text}\n{where(output, {'report': PAGE, 'table': COMPARED, 'figure': FIGURE}, run)}"


def _lay_out(output: Path, compared: pa.Table, objective: str, parameters: CompareParameters) -> None:
    with write_aside(output / COMPARED) as aside:
        pq.write_table(compared, aside)
    with write_aside(output / FIGURE) as aside:
        aside.write_bytes(png(algorithms(compared, objective)))
    command = command_line("compare", parameters)
    write_compared(output / PAGE, compared, objective, parameters.model, parameters.budget, command)
