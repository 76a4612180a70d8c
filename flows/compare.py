"""Search with several algorithms and seeds at one budget, and plot the best value against trials.

Writes algorithms.html, algorithms.parquet (the best value of each search after each trial; a search that ends
before the longest one keeps its best) and algorithms.png to --output.

\b
Example:
  optishear compare --algorithms nsga3,evopress,random --seeds 0,1,2 --trials 200 --output compared
"""

import pyarrow.parquet as pq

from flows.parameters.compare import CompareParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.prefect_page import show_results
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.parameters.roles import without_places
from optishear.report.compared import compared_markdown, compared_words
from optishear.report.reproduce import command_line
from tasks.engine.parameter_groups import part
from tasks.engine.precision import precision_of
from tasks.registration.results import Attachments, register
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.compare_report import ALGORITHMS, ALGORITHMS_FIGURE, ALGORITHMS_PAGE, compare_report_stage
from tasks.stages.parameters import SearchStageParameters
from tasks.stages.search import search_stage
from tasks.stages.statistics import statistics_stage
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import tracked_run

FILES = (ALGORITHMS, ALGORITHMS_FIGURE, ALGORITHMS_PAGE)


@titled_flow("compare")
def compare(parameters: CompareParameters) -> str:
    """Write ``algorithms.html``, ``algorithms.parquet`` and ``algorithms.png``; returns the summary.

    All searches share calibration and statistics, which use the flow's own seed. Each search is a cached task, so an
    additional seed costs one search.
    """
    with output_folder("compare", parameters) as output:
        check(parameters)
        with tracked_run("compare", parameters, precision_of(parameters)) as run:
            calibration = calibrate_stage(parameters)
            statistics = statistics_stage(parameters, calibration)
            objective = parameters.divergences[0]
            searches: dict[tuple[str, int], Artifact] = {}
            for algorithm in parameters.algorithms:
                for seed in parameters.seeds:
                    one = part(parameters, SearchStageParameters, algorithm=algorithm, seed=seed)
                    search = search_stage.labelled(f"search {algorithm}, seed {seed}")
                    searches[algorithm, seed] = search(one, calibration, statistics)
            command = command_line("compare", parameters)
            report = compare_report_stage(parameters, searches, objective, parameters.budget, command)
            place_files(output, {name: report.path(name) for name in FILES})
            table = pq.read_table(report.path(ALGORITHMS))
            text = "\n\n".join([*compared_words(table, objective, parameters.budget), compared_markdown(table)])
            last = {(row["algorithm"], row["seed"]): row["best"] for row in table.to_pylist()}
            figure = output / ALGORITHMS_FIGURE
            register(
                run,
                without_places(parameters),
                {f"{algorithm}/seed_{seed}/{objective}": best for (algorithm, seed), best in last.items()},
                Attachments(
                    tags={"mlflow.note.content": text},
                    files={"": [output / ALGORITHMS, output / ALGORITHMS_PAGE], "figures": [figure]},
                ),
            )
            show_results("algorithms", text, "the best value of each algorithm", [figure])
        places = {"report": ALGORITHMS_PAGE, "table": ALGORITHMS, "figure": ALGORITHMS_FIGURE}
        return f"{text}\n{where(output, places, run)}"
