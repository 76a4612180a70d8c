"""Evaluate one model: perplexity on a text, and lm-eval tasks.

Writes metrics.json to --output.

\b
Example:
  optishear evaluate --model pruned/model --tasks arc_easy,boolq --limit 200 --output scores
"""

from flows.parameters.evaluate import EvaluateParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.file_names import METRICS
from tasks.engine.precision import precision_of
from tasks.registration.datasets import dataset_inputs
from tasks.registration.metrics import evaluation_metrics, flat_metrics, readable
from tasks.registration.results import Attachments, register
from tasks.stages.evaluate import evaluate_stage, forget_failures
from tasks.stages.footprint import footprint_stage
from tasks.tracking.flow_runs import tracked_run


@titled_flow("evaluate")
def evaluate(parameters: EvaluateParameters) -> str:
    """Write ``metrics.json``; returns the scores and their place."""
    with output_folder("evaluate", parameters) as output:
        check(parameters)
        with tracked_run("evaluate", parameters, precision_of(parameters)) as run:
            evaluation = evaluate_stage(parameters)
            footprint = footprint_stage(parameters) if parameters.footprint else None
            metrics = evaluation_metrics(parameters, evaluation, footprint)
            place_files(output, {}, {METRICS: metrics})
            forget_failures([evaluation])
            inputs = dataset_inputs({"evaluate": [evaluation]}, evaluation_text=parameters.evaluation_text)
            attachments = Attachments(inputs=inputs, files={"": [output / METRICS]})
            register(run, metrics.parameters, flat_metrics(metrics), attachments)
    return f"{readable(metrics.evaluation)}\n\n{where(output, {'metrics': METRICS}, run)}"
