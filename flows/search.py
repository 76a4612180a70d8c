"""Search a pruning recipe, without pruning or evaluating.

Writes calibration.parquet, statistics.parquet, trials.parquet, recipe.yaml and front/ to --output. A search
that was stopped resumes when the command is repeated.

\b
Example:
  optishear search --model HuggingFaceTB/SmolLM2-135M --sparsity 2:4 --budget 2h --output found
"""

from flows.parameters.search import SearchFlowParameters
from flows.shared.checks import check
from flows.shared.expected_times import timed_run
from flows.shared.output_folder import output_folder, place_files
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.file_names import CALIBRATION, FRONT, RECIPE, STATISTICS, TRIALS
from optishear.parameters.roles import without_places
from tasks.engine.precision import precision_of
from tasks.registration.datasets import dataset_inputs
from tasks.registration.metrics import flat_search
from tasks.registration.results import Attachments, register
from tasks.stages.search import search_stage
from tasks.stages.statistics import statistics_stage
from tasks.tracking.flow_runs import tracked_run


@titled_flow("search")
def search(parameters: SearchFlowParameters) -> str:
    """Write ``trials.parquet``, ``recipe.yaml`` ``front/``, calibration and statistics; returns their places."""
    with output_folder("search", parameters) as output:
        check(parameters)
        with tracked_run("search", parameters, precision_of(parameters)) as run, timed_run(parameters) as calibration:
            statistics = statistics_stage(parameters, calibration)
            result = search_stage(parameters, calibration, statistics)
            stages = {"calibrate": calibration, "statistics": statistics, "search": result}
            place_files(
                output,
                {
                    CALIBRATION: calibration.path(CALIBRATION),
                    STATISTICS: statistics.path(STATISTICS),
                    TRIALS: result.path(TRIALS),
                    FRONT: result.path(FRONT),
                    RECIPE: result.path(RECIPE),
                },
            )
            inputs = dataset_inputs({"calibrate": [calibration]}, parameters.calibration)
            attachments = Attachments(inputs=inputs, files={"": [output / RECIPE, output / TRIALS]})
            register(run, without_places(parameters), flat_search(parameters, stages), attachments)
    return where(output, {"recipe": RECIPE, "trials": TRIALS, "other recipes": FRONT}, run)
