"""Stage 6: evaluate a model, ``evaluation.json`` and ``examples.parquet``.

Each score is stored on its own, under the content of the model and of the task. An additional task costs that task
alone, a repeated run evaluates only the tasks that failed, and scores from before a kill are kept.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel
from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import check_context
from optishear.calibration.text import text_digest
from optishear.errors import InputError
from optishear.evaluation.evaluate import NO_TEXT, default_batch_size, evaluate
from optishear.evaluation.examples import examples_table
from optishear.evaluation.identity import identify_tasks
from optishear.evaluation.part import Load, Part, Result
from optishear.evaluation.task_files import suites_of
from optishear.file_names import STATISTICS
from optishear.json_file import write_json
from optishear.memory.model_shape import ModelShape
from optishear.memory.need import Need
from optishear.memory.needs import evaluate_need
from optishear.models.devices import devices_of, resolve_device
from optishear.models.load import LoadedModel
from optishear.models.timed import timed
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.model import ModelParameters
from optishear.pruning.apply import apply_recipe
from optishear.pruning.checkpoint import sparsity_in_memory
from optishear.recipes.recipe import Recipe
from optishear.run_metrics.evaluated_model import EvaluatedModel
from tasks.engine.memory import check_batch, plan_batch
from tasks.engine.model_cache import shared_model, take_model
from tasks.engine.stage import Stage
from tasks.stages.parameters import EvaluateStageParameters
from tasks.stages.statistics import load_statistics
from tasks.store.artifacts import Artifact, Request, forget, make_once
from tasks.store.keys import content_key, digest, folder_digest, model_digest

EVALUATION = "evaluation.json"
EXAMPLES = "examples.parquet"
VERSION = 5
_SCORE = "score.json"
_SCORE_VERSION = 1
_FIX = "lower window_length"
logger = logging.getLogger("optishear.stages")


class Masking(BaseModel):
    """What pruning the model took.

    Attributes:
        seconds: of applying the recipe, on the loaded model.
    """

    seconds: float


class Sparsity(BaseModel):
    """The fractions of zeros in a model; ``None`` where it has no prunable layers.

    Attributes:
        prunable: over the weights of the prunable layers.
        all_matrices: over all matrices of the decoder blocks.
    """

    prunable: float | None
    all_matrices: float | None


def _model_inputs(
    parameters: EvaluateStageParameters, recipe: Recipe | None, statistics: Artifact | None
) -> dict[str, str]:
    inputs = {"model": model_digest(parameters)}
    if recipe is not None and statistics is not None:
        inputs["recipe"] = digest(recipe.model_dump(mode="json"))
        inputs["statistics"] = statistics.digest(STATISTICS)
    return inputs


def _inputs(
    parameters: EvaluateStageParameters, recipe: Recipe | None = None, statistics: Artifact | None = None
) -> dict[str, str]:
    inputs = _model_inputs(parameters, recipe, statistics)
    inputs["text"] = text_digest(parameters.evaluation_text)
    suites = suites_of(parameters)
    if suites:
        inputs["suites"] = digest(
            [parameters.suite and Path(parameters.suite).stem, *(suite.model_dump() for suite in suites)]
        )
        # The documents may be outside of the folder; settings of a group are only in its files.
        inputs["task_files"] = folder_digest(parameters.include_path)
        identities = [identify_tasks(suite.tasks, parameters.include_path, suite.fewshot) for suite in suites]
        inputs["documents"] = digest([dict(tasks) for tasks in identities])
        inputs["lm_eval"] = version("lm-eval")
    return inputs


def _write(
    outputs: Path,
    parameters: EvaluateStageParameters,
    recipe: Recipe | None = None,
    statistics: Artifact | None = None,
) -> None:
    """With a recipe, the model is pruned by it in memory first."""
    keep = _Kept(_model_inputs(parameters, recipe, statistics), parameters.dtype)
    with _model_of(parameters, recipe, statistics) as (load, masking):
        first = plan_batch(
            parameters,
            parameters.batch_size or default_batch_size(resolve_device(parameters.device)),
            partial(_need, parameters, recipe is not None),
            _FIX,
        )
        sized = parameters.model_copy(update={"batch_size": first})
        result = evaluate(load, sized, seed=parameters.seed, keep=keep)
        sparsity = keep(Part("sparsity", {"of": list(Sparsity.model_fields)}, Sparsity, lambda: _sparsity(load()[0])))
        masked = None if recipe is None else keep(Part("masking", {"of": list(Masking.model_fields)}, Masking, masking))
    evaluated = EvaluatedModel(
        **dict(result.evaluation),
        sparsity=sparsity.prunable,
        sparsity_of_all_matrices=sparsity.all_matrices,
        masking_seconds=None if masked is None else masked.seconds,
    )
    write_json(outputs / EVALUATION, evaluated)
    pq.write_table(examples_table(result.examples), outputs / EXAMPLES)


@contextmanager
def _model_of(
    parameters: EvaluateStageParameters, recipe: Recipe | None, statistics: Artifact | None
) -> Iterator[tuple[Load, Callable[[], Masking]]]:
    """The model, loaded and pruned when it is first needed, and what the pruning took."""
    with ExitStack() as stack:

        @functools.cache
        def prune() -> tuple[LoadedModel, float]:
            if recipe is None or statistics is None:
                return stack.enter_context(shared_model(parameters)), 0.0
            loaded = take_model(parameters)
            of_model = load_statistics(statistics)
            prune = partial(apply_recipe, loaded.model, recipe, of_model, progress=True)
            seconds, _ = timed(devices_of(loaded.model), prune)
            return loaded, seconds

        def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
            loaded, _ = prune()
            return loaded.model, loaded.tokenizer

        yield load, lambda: Masking(seconds=prune()[1])


@dataclass(frozen=True)
class _Kept:
    """Returns a part of an evaluation from the store if it has it, else measures and stores it.

    Attributes:
        model: digests of what makes up the evaluated model.
        dtype: its working precision.
    """

    model: Mapping[str, str]
    dtype: str

    def __call__(self, part: Part[Result]) -> Result:
        """The part's result; a part that fails is not kept."""
        parameters = {"dtype": self.dtype}
        inputs = {**self.model, "part": digest([part.result.__name__, part.identity])}
        key = content_key("score", _SCORE_VERSION, parameters, inputs)

        def write(outputs: Path) -> None:
            result = part.measure()
            write_json(outputs / _SCORE, result.model_dump(mode="json"))
            logger.info("  %s: evaluated", part.name)

        artifact = make_once(Request("score", _SCORE_VERSION, key, parameters, inputs), write)
        return part.result.model_validate(artifact.read_json(_SCORE))


def _sparsity(model: PreTrainedModel) -> Sparsity:
    try:
        measured = sparsity_in_memory(model)
    except InputError:  # it can still be evaluated
        return Sparsity(prunable=None, all_matrices=None)
    return Sparsity(prunable=measured.prunable, all_matrices=measured.all_matrices)


def check_memory_of_evaluation(
    model: PreTrainedModel, parameters: ModelParameters, evaluation: EvaluationParameters
) -> None:
    """Refuse a model that does not fit the device in a forward pass over one window.

    Raises:
        InputError: names the memory.
    """
    check_batch(model, parameters, partial(_need, evaluation, False), _FIX)


def _need(parameters: EvaluationParameters, pruned: bool, shape: ModelShape, itemsize: int, batch_size: int) -> Need:
    return evaluate_need(shape, itemsize, window_length=parameters.window_length, batch_size=batch_size, pruned=pruned)


def check_window_length(model: PreTrainedModel, parameters: EvaluationParameters) -> None:
    """Refuse windows that are longer than the model's context.

    Raises:
        InputError: names the parameter and the context.
    """
    if parameters.evaluation_text != NO_TEXT:
        check_context(model, "window_length", parameters.window_length)


def evaluation_of(artifact: Artifact) -> EvaluatedModel:
    """The scores that the stage's artifact holds."""
    return artifact.read_model(EVALUATION, EvaluatedModel)


def forget_failures(evaluations: Iterable[Artifact]) -> None:
    """Remove evaluations with failed tasks, so that the next run repeats them. Call it after laying out the results.

    The scores that did not fail stay.
    """
    for artifact in evaluations:
        if evaluation_of(artifact).failed_tasks:
            forget(artifact)


evaluate_stage = Stage(
    name="evaluate",
    version=VERSION,
    parameters=("window_length", "windows", "bos", "limit", "fewshot", "batch_size", "max_length", "seed", "dtype"),
    inputs=_inputs,
    write=_write,
    scores=lambda evaluation: evaluation_of(evaluation).finite_scores(),
    on_gpu=EvaluateStageParameters,
)
