"""The flow that searches a recipe."""

from prefect import flow

from flows.checks import check
from flows.layout import lay_out, output_folder
from flows.summary import where
from optishear.parameters import SearchStage
from tasks.calibrate import CALIBRATION, calibrate_stage
from tasks.datasets import dataset_inputs
from tasks.register import Attachments, flat_metrics, register
from tasks.results import collect_metrics
from tasks.runs import tracked_run
from tasks.search import FRONT, RECIPE, TRIALS, search_stage
from tasks.statistics import STATISTICS, statistics_stage


@flow(name="search")
def search(parameters: SearchStage) -> str:
    """Write ``trials.parquet``, ``recipe.yaml`` and ``front/``, and what they came from; returns where."""
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("search", parameters) as run:
            blocks = calibrate_stage(parameters)
            observed = statistics_stage(parameters, blocks)
            found = search_stage(parameters, blocks, observed)
            stages = {"calibrate": [blocks], "statistics": [observed], "search": [found]}
            metrics = collect_metrics(parameters, stages, judged={}, footprints={})
            lay_out(
                output,
                {
                    CALIBRATION: blocks.path(CALIBRATION),
                    STATISTICS: observed.path(STATISTICS),
                    TRIALS: found.path(TRIALS),
                    FRONT: found.path(FRONT),
                    RECIPE: found.path(RECIPE),
                },
            )
            inputs = dataset_inputs(stages, parameters.calibration)
            attachments = Attachments(inputs=inputs, files={"": [output / RECIPE, output / TRIALS]})
            register(run, metrics["parameters"], flat_metrics(metrics), attachments)
    return where(output, {"recipe": RECIPE, "trials": TRIALS, "other recipes": FRONT}, run)


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("search")
