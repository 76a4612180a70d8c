"""Apply a recipe found on another model to this one, and compare it with Wanda on this model.

Layer ratios are mapped by relative depth. Writes the files of `run`, except those of a search.

\b
Example:
  optishear transfer --recipe found/recipe.yaml --model HuggingFaceTB/SmolLM2-360M --output transferred
"""

from flows.parameters.transfer import TransferParameters
from flows.shared.checks import check
from flows.shared.expected_times import timed_run
from flows.shared.output_folder import output_folder
from flows.shared.prune_and_evaluate import final_checkpoint, prune_and_evaluate, publish_results
from flows.shared.recipes import recipe_of
from flows.shared.titled_flow import titled_flow
from optishear.file_names import RECIPE
from optishear.report.reproduce import command_line
from tasks.engine.precision import precision_of
from tasks.stages.diagnose import diagnose_stage
from tasks.stages.gradients import observe
from tasks.tracking.flow_runs import tracked_run


@titled_flow("transfer")
def transfer(parameters: TransferParameters) -> str:
    """Prune this model by the recipe, evaluate, report and register; returns the summary."""
    with output_folder("transfer", parameters) as output:
        check(parameters)
        with tracked_run("transfer", parameters, precision_of(parameters)) as run, timed_run(parameters) as calibration:
            recipe = recipe_of(parameters)
            statistics = observe(parameters, calibration, recipe)
            checkpoints, evaluations = prune_and_evaluate(parameters, recipe, calibration, statistics)
            diagnosis = diagnose_stage(parameters, calibration, statistics, recipe, final_checkpoint(checkpoints))
            stages = {"calibrate": calibration, "statistics": statistics, **checkpoints, "diagnose": diagnosis}
            command = command_line(
                "transfer", parameters.model_copy(update={"recipe": RECIPE, "sparsity": recipe.sparsity})
            )
            return publish_results(parameters, output, run, recipe, stages, evaluations, command)
