"""Apply a recipe to a model and save the pruned checkpoint.

Writes calibration.parquet, statistics.parquet, recipe.yaml and model/ to --output. A recipe file has its
own sparsity; --sparsity is for the named recipes.

\b
Example:
  optishear prune --model HuggingFaceTB/SmolLM2-135M --recipe found/recipe.yaml --output pruned
"""

from flows.parameters.prune import PruneParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.recipes import recipe_of
from flows.shared.summary import where, zeros_in_words
from flows.shared.titled_flow import titled_flow
from optishear.file_names import CALIBRATION, CHECKPOINT, RECIPE, STATISTICS
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.gradients import observe
from tasks.stages.prune import checkpoint_metrics, prune_stage
from tasks.stages.reconstruct import reconstruct_stage
from tasks.stages.recover import recover_stage


@titled_flow("prune")
def prune(parameters: PruneParameters) -> str:
    """Write the pruned checkpoint ``model/``, its recipe, calibration and statistics; returns their places."""
    with output_folder("prune", parameters) as output:
        check(parameters)
        recipe = recipe_of(parameters)
        blocks = calibrate_stage(parameters)
        statistics = observe(parameters, blocks, recipe)
        if parameters.reconstructs:
            pruned = reconstruct_stage(parameters, recipe, blocks, statistics)
        else:
            pruned = prune_stage(parameters, recipe, statistics)
        if parameters.recovers:
            pruned = recover_stage(parameters, recipe, pruned)
        place_files(
            output,
            {
                CALIBRATION: blocks.path(CALIBRATION),
                STATISTICS: statistics.path(STATISTICS),
                CHECKPOINT: pruned.path(CHECKPOINT),
                RECIPE: pruned.path(CHECKPOINT) / RECIPE,
            },
        )
    zeros = zeros_in_words(checkpoint_metrics(pruned))
    places = where(output, {"model": CHECKPOINT, "recipe": RECIPE})
    return f"Pruned: {zeros} are zero.\n\n{places}"
