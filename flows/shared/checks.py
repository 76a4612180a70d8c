"""Cheap checks of a flow's input, all made before anything expensive begins."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from transformers.modeling_utils import PreTrainedModel

from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.export import ExportParameters
from flows.parameters.matrix import MatrixParameters
from flows.parameters.nightly import NightlyParameters
from flows.parameters.output import OutputParameters
from flows.parameters.recipe import RecipeParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.parameters.transplant import TransplantParameters
from flows.shared.matrix_names import models_by_name, texts_by_name
from flows.shared.nightly_plan import read_plan
from optishear.calibration.calibrate import check_calibration, check_context
from optishear.errors import InputError
from optishear.evaluation.evaluate import NO_TEXT, check_evaluation
from optishear.evidence.crossed import check_places
from optishear.file_names import CHECKPOINT
from optishear.formats.stored import open_checkpoint, stored_format
from optishear.models.coverage import warn_of_coverage
from optishear.models.finite import check_float16
from optishear.models.layers import prunable_layers
from optishear.models.load import model_without_weights, resolve_device
from optishear.models.memory import check_memory, weight_count
from optishear.parameters.base import Parameters
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.model import ModelParameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.sparsity import SparsityParameters
from optishear.pattern import parse_pattern
from optishear.pruning.apply import check_pattern
from optishear.pruning.checkpoint import check_replaceable
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_ratios import layer_ratios
from optishear.recipes.recipe import find_recipe
from optishear.reconstruction.reconstruct import check_sequences
from optishear.searching.finalists import fitting_sequences
from optishear.searching.universal import check_universal
from tasks.engine.parameters import PlacementParameters
from tasks.engine.placement import check_placement, uses_deployments
from tasks.engine.precision import precision_of
from tasks.registration.parameters import RegistryParameters
from tasks.store.model_sources import find_model
from tasks.tracking.experiment import connect
from tasks.tracking.parameters import TrackingParameters

_checked: ContextVar[tuple[Parameters, ...]] = ContextVar("checked", default=())


def check(parameters: Parameters) -> None:
    """Make all checks that the parameters' groups ask for, in the order of ``CHECKS``; once in a command.

    Raises:
        InputError: one sentence on the first thing that cannot work.
    """
    if parameters in _checked.get():
        return
    if isinstance(parameters, SweepParameters):
        for pipeline in pipelines_of(parameters).values():
            check(pipeline)
        return
    for groups, check_groups in CHECKS:
        if all(isinstance(parameters, group) for group in groups):
            check_groups(parameters)


@contextmanager
def checked(parameters: Parameters) -> Iterator[None]:
    """Check the parameters; the flows of the body, which are called with the same, do not check them again."""
    check(parameters)
    pipelines = pipelines_of(parameters).values() if isinstance(parameters, SweepParameters) else ()
    token = _checked.set((parameters, *pipelines))
    try:
        yield
    finally:
        _checked.reset(token)


def _check_matrix(parameters: EvaluationParameters) -> None:
    if parameters.evaluation_text == NO_TEXT:
        raise InputError(
            f"The parameter evaluation_text is {NO_TEXT!r}, but a matrix compares perplexities; give a text."
        )


def _check_transplant(parameters: TransplantParameters) -> None:
    """Whether the recipe has ratios that can be carried to another metric."""
    recipe = find_recipe(parameters.recipe, "0.5")
    if recipe.sparsity.is_structured:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for {recipe.sparsity}, which fixes the sparsity of every layer; "
            "give one for a fraction, such as 0.5."
        )
    if not recipe.sparsity_ratios:
        raise InputError(f"The recipe {parameters.recipe!r} has no sparsity ratios; give one that a search found.")


def _check_limits(parameters: Any) -> None:
    if parameters.champion_max_task_drop is not None and not (parameters.tasks or parameters.suite):
        raise InputError(
            f"champion_max_task_drop is {parameters.champion_max_task_drop:g}, but no tasks are evaluated; "
            "give tasks or a suite, or leave it out."
        )


def _check_search(parameters: SearchFlowParameters) -> None:
    if parameters.search_sequences > parameters.sequences:
        raise InputError(
            f"The parameter search_sequences is {parameters.search_sequences}, but there are {parameters.sequences} "
            "calibration sequences; lower it or raise sequences."
        )
    fitting_sequences(parameters, parameters.sequences)
    if parameters.reconstructed_finalists and not getattr(parameters, "reconstructs", True):
        raise InputError(
            f"reconstructed_finalists is {parameters.reconstructed_finalists}, but nothing is reconstructed "
            "afterwards; set reconstruction, or leave it out."
        )
    for each in parameters.search_calibrations:
        check_calibration(each.source)


def _check_recipe(parameters: RecipeParameters) -> None:
    """A recipe file brings its own sparsity; another one beside it would be ignored silently."""
    given = getattr(parameters, "sparsity", parse_pattern("0.5"))
    recipe = find_recipe(parameters.recipe, given)
    if "sparsity" in parameters.model_fields_set and recipe.sparsity != given:
        raise InputError(
            f"The recipe {parameters.recipe!r} is for the sparsity {recipe.sparsity}, not {given}; "
            "leave out the sparsity, or search a recipe for it."
        )


def _check_export(parameters: ExportParameters) -> None:
    """Whether there is a checkpoint, and whether its copy has a place of its own."""
    source, target = find_model(parameters.model), parameters.output / CHECKPOINT
    if target.exists() and target.samefile(source.location):
        raise InputError(
            f"The checkpoint {parameters.model!r} would be replaced by its own export; name another output folder."
        )
    if source.gguf is None and source.revision is None:
        open_checkpoint(source.location)
    if stored_format(target) != "bitmask":
        check_replaceable(target)


def _check_model(parameters: ModelParameters) -> None:
    """Whether the model is there, and whether lengths, pattern and recipe fit it."""
    source = find_model(parameters.model)
    model = model_without_weights(source, parameters.trust_remote_code)
    if model is None:
        return
    _check_precision(parameters, model)
    if isinstance(parameters, CalibrationParameters):
        check_context(model, "sequence_length", parameters.sequence_length)
    if isinstance(parameters, EvaluationParameters) and parameters.evaluation_text != NO_TEXT:
        check_context(model, "window_length", parameters.window_length)
    if isinstance(parameters, StatisticsParameters):
        layers = prunable_layers(model)
        warn_of_coverage(model)
        if isinstance(parameters, RecipeParameters) and isinstance(parameters, SparsityParameters):
            recipe = find_recipe(parameters.recipe, parameters.sparsity)
            check_fits(recipe, layers, model.config.model_type)
            check_pattern(recipe.sparsity, layers)
            layer_ratios(recipe, layers)
        elif isinstance(parameters, SparsityParameters):
            check_pattern(parameters.sparsity, layers)


def _check_precision(parameters: ModelParameters, model: PreTrainedModel) -> None:
    """Whether the family can be computed in the dtype, and whether the weights fit into the memory of this machine."""
    check_float16(parameters.model, model.config, parameters.dtype)
    if not uses_deployments(parameters):  # elsewhere the worker has the memory
        dtype = precision_of(parameters).dtype
        check_memory(parameters.model, weight_count(model), dtype, resolve_device(parameters.device))


def _check_device(parameters: ModelParameters) -> None:
    if not uses_deployments(parameters):  # elsewhere the worker has the devices
        resolve_device(parameters.device)


def _check_fitted_sequences(parameters: Any) -> None:
    check_sequences(parameters, parameters.sequences)


def _check_models(parameters: CrossModelParameters) -> None:
    models = models_by_name(parameters)
    check_places(models, "model")
    if parameters.universal:
        check_universal(parameters)
    for model in models.values():
        _check_model(parameters.model_copy(update={"model": model}))


def _check_one_model(parameters: ModelParameters) -> None:
    if not isinstance(parameters, CrossModelParameters):
        _check_model(parameters)


def _check_texts(parameters: CrossTaskParameters) -> None:
    texts = texts_by_name(parameters)
    check_places(texts, "text")
    for source in texts.values():
        check_calibration(source)


# Groups of parameters, and the check of a flow that takes all of them. Cheap checks come first, those of models after
# those of texts, and the tracking server last.
CHECKS: tuple[tuple[tuple[type[Parameters], ...], Callable[[Any], object]], ...] = (
    ((NightlyParameters,), lambda parameters: read_plan(parameters.plan)),
    ((PlacementParameters,), check_placement),
    ((ModelParameters,), _check_device),
    ((RecipeParameters,), _check_recipe),
    ((TransplantParameters,), _check_transplant),
    ((SearchFlowParameters,), _check_search),
    ((ReconstructionParameters, CalibrationParameters), _check_fitted_sequences),
    ((MatrixParameters, EvaluationParameters), _check_matrix),
    ((EvaluationParameters,), check_evaluation),
    ((CalibrationParameters,), lambda parameters: check_calibration(parameters.calibration)),
    ((CrossModelParameters,), _check_models),
    ((ModelParameters,), _check_one_model),
    ((ExportParameters,), _check_export),
    ((CrossTaskParameters,), _check_texts),
    ((OutputParameters, SparsityParameters), lambda parameters: check_replaceable(parameters.output / CHECKPOINT)),
    ((RegistryParameters, EvaluationParameters), _check_limits),
    ((TrackingParameters,), connect),
)
