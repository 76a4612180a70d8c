"""Search a recipe, prune the model, evaluate it, and register the result.

Writes to --output: calibration.parquet, statistics.parquet, trials.parquet, recipe.yaml, front/ (the other
non-dominated recipes), model/ (the pruned checkpoint), diagnosis/ (errors layer by layer), metrics.json,
comparison.parquet and report.html. Stages that an earlier run computed from the same input are not repeated.

\b
Example:
  optishear run --model HuggingFaceTB/SmolLM2-135M --sparsity 0.5 --output pruned
"""

from flows.parameters.pipeline import PipelineParameters
from flows.shared.checks import check
from flows.shared.expected_times import timed_run
from flows.shared.output_folder import output_folder
from flows.shared.planned_time import with_planned_time
from flows.shared.prune_and_evaluate import final_checkpoint, prune_and_evaluate, publish_results
from flows.shared.titled_flow import titled_flow
from optishear.report.reproduce import command_line
from optishear.searching.finalists import finalist_count
from tasks.engine.precision import precision_of
from tasks.stages.diagnose import diagnose_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.tracking.flow_runs import tracked_run


@titled_flow("pipeline")
def pipeline(parameters: PipelineParameters) -> str:
    """Search, prune, evaluate, report and register; returns the summary."""
    with output_folder("run", parameters) as output:
        check(parameters)
        parameters = with_planned_time(parameters)
        command = command_line("run", parameters)
        finalists = finalist_count(parameters, parameters, parameters.sequences)
        parameters = parameters.model_copy(update={"reconstructed_finalists": finalists})
        with tracked_run("pipeline", parameters, precision_of(parameters)) as run, timed_run(parameters) as calibration:
            statistics = statistics_stage(parameters, calibration)
            search = search_stage(parameters, calibration, statistics)
            recipe = load_recipe(search)
            checkpoints, evaluations = prune_and_evaluate(parameters, recipe, calibration, statistics)
            diagnosis = diagnose_stage(parameters, calibration, statistics, recipe, final_checkpoint(checkpoints))
            stages = {
                "calibrate": calibration,
                "statistics": statistics,
                "search": search,
                **checkpoints,
                "diagnose": diagnosis,
            }
            return publish_results(parameters, output, run, recipe, stages, evaluations, command)
