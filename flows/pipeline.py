"""Search a recipe, prune the model, evaluate it, and register the result.

Writes to --output: calibration.parquet, statistics.parquet, trials.parquet, recipe.yaml, front/ (the other
non-dominated recipes), model/ (the pruned checkpoint), diagnosis/ (errors layer by layer), metrics.json,
comparison.parquet and report.html. Stages that an earlier run computed from the same input are not repeated.

\b
Example:
  optishear run --model HuggingFaceTB/SmolLM2-135M --sparsity 0.5 --output pruned
"""

from prefect import flow

from flows.parameters.pipeline import PipelineParameters
from flows.shared.checks import check
from flows.shared.expected_times import timed_run
from flows.shared.output_folder import output_folder
from flows.shared.prune_and_evaluate import conclude, final_checkpoint, prune_and_judge
from optishear.report.reproduce import command_line
from tasks.engine.precision import precision_of
from tasks.stages.diagnose import diagnose_stage
from tasks.stages.search import load_recipe, search_stage
from tasks.stages.statistics import statistics_stage
from tasks.tracking.flow_runs import tracked_run


@flow(name="pipeline")
def pipeline(parameters: PipelineParameters) -> str:
    """Search, prune, judge, report and register; returns the summary for a person."""
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("pipeline", parameters, precision_of(parameters)) as run, timed_run(parameters) as calibration:
            observed = statistics_stage(parameters, calibration)
            found = search_stage(parameters, calibration, observed)
            recipe = load_recipe(found)
            pruned, judged = prune_and_judge(parameters, recipe, calibration, observed)
            diagnosed = diagnose_stage(parameters, calibration, observed, recipe, final_checkpoint(pruned))
            stages = {
                "calibrate": calibration,
                "statistics": observed,
                "search": found,
                **pruned,
                "diagnose": diagnosed,
            }
            return conclude(parameters, output, run, recipe, stages, judged, command_line("run", parameters))
