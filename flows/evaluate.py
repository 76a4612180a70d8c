"""The flow that judges one model."""

from prefect import flow

from flows.checks import check
from flows.layout import output_folder
from flows.summary import where
from optishear.parameters import EvaluateStage
from tasks.datasets import dataset_inputs
from tasks.evaluate import evaluate_stage, forget_failures
from tasks.footprint import footprint_stage
from tasks.jsonfile import write_json
from tasks.register import Attachments, flat_metrics, register
from tasks.results import collect_metrics, readable
from tasks.runs import tracked_run

METRICS = "metrics.json"


@flow(name="evaluate")
def evaluate(parameters: EvaluateStage) -> str:
    """Write ``metrics.json``; returns the scores and where they are."""
    with output_folder(parameters.output) as output:
        check(parameters)
        with tracked_run("evaluate", parameters) as run:
            judged = evaluate_stage(parameters)
            stages = {"evaluate": [judged]}
            footprints = {"evaluation": footprint_stage(parameters)} if parameters.footprint else {}
            metrics = collect_metrics(parameters, stages, {"evaluation": judged}, footprints)
            write_json(output / METRICS, metrics)
            forget_failures([judged])
            inputs = dataset_inputs(stages, evaluation_text=parameters.evaluation_text)
            attachments = Attachments(inputs=inputs, files={"": [output / METRICS]})
            register(run, metrics["parameters"], flat_metrics(metrics), attachments)
    return f"{readable(metrics['evaluation'])}\n\n{where(output, {'metrics': METRICS}, run)}"


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("evaluate")
