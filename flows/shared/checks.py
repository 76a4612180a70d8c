"""The order of all cheap checks of a flow's input, before anything expensive begins.

A check is a function beside the code that it protects. It has one argument for each parameter group that it reads, and
applies to the parameters that belong to all of these groups.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import singledispatch

from transformers.modeling_utils import PreTrainedModel

from flows.parameters.pipeline import PipelineParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.shared.matrix_checks import check_models, check_perplexity, check_texts
from flows.shared.nightly_plan import check_plan
from flows.shared.output_disk import check_disks, check_room_for_checkpoint
from flows.shared.output_folder import check_checkpoint, check_export
from flows.shared.planned_time import with_planned_time
from flows.shared.pruning_checks import (
    check_carried_ratios,
    check_channel_order,
    check_dense_layers_of_model,
    check_layers,
    check_memory_of_gradients,
    check_memory_of_sparsegpt,
    check_pattern_of_model,
    check_recipe,
    check_recipe_of_model,
)
from optishear.evaluation.evaluate import check_evaluation
from optishear.models.load import model_without_weights
from optishear.parameters.base import Parameters
from optishear.parameters.model import ModelParameters
from optishear.searching.finalists import check_finalists
from tasks.engine.parameter_groups import belongs, groups_of, models_of
from tasks.engine.placement import check_placement
from tasks.engine.precision import check_device, check_precision
from tasks.registration.champion import check_limits
from tasks.stages.calibrate import (
    check_calibration_text,
    check_memory_of_text,
    check_sequence_length,
    check_text_of_model,
)
from tasks.stages.diagnose import check_memory_of_diagnosis
from tasks.stages.evaluate import check_memory_of_evaluation, check_window_length
from tasks.stages.reconstruct import check_fitted_sequences, check_memory_of_reconstruction
from tasks.stages.recover import check_memory_of_recovery, check_recovery, check_recovery_gpus
from tasks.stages.search import check_memory_of_search, check_search, check_search_texts, check_search_workers
from tasks.stages.statistics import check_memory_of_statistics
from tasks.store.model_sources import find_model
from tasks.tracking.experiment import connect

_checked: ContextVar[tuple[Parameters, ...]] = ContextVar("checked", default=())


def check(parameters: Parameters) -> None:
    """Run the checks of all groups that the parameters belong to, in the order of ``CHECKS``; once in a command.

    Raises:
        InputError: one sentence on the first thing that cannot work.
    """
    for run in runs_of(parameters):
        if run not in _checked.get():
            _apply(CHECKS, run)


@contextmanager
def checked(parameters: Parameters) -> Iterator[None]:
    """Check the parameters; the flows of the body, which are called with the same, do not check them again."""
    check(parameters)
    token = _checked.set(runs_of(parameters))
    try:
        yield
    finally:
        _checked.reset(token)


@singledispatch
def runs_of(parameters: Parameters) -> tuple[Parameters, ...]:
    """The parameters of each run; a command is one run, a sweep has several."""
    return (parameters,)


@runs_of.register
def _(parameters: SweepParameters) -> tuple[Parameters, ...]:
    return tuple(with_planned_time(run) for run in pipelines_of(parameters).values())


@runs_of.register
def _(parameters: PipelineParameters) -> tuple[Parameters, ...]:
    return (with_planned_time(parameters),)


def check_model(parameters: ModelParameters) -> None:
    """Apply the checks of each model; one that cannot be built from its configuration is refused when it is loaded."""
    for source in models_of(parameters):
        model = model_without_weights(find_model(source), parameters.trust_remote_code)
        if model is not None:
            _apply(MODEL_CHECKS, parameters.model_copy(update={"model": source}), model)


def _apply(checks: tuple[Callable[..., object], ...], parameters: Parameters, *model: PreTrainedModel) -> None:
    for check in checks:
        if belongs(parameters, check):
            check(*model, *[parameters] * len(groups_of(check)))


# Their first argument is the ``model`` without its weights.
MODEL_CHECKS: tuple[Callable[..., object], ...] = (
    check_precision,
    check_sequence_length,
    check_text_of_model,
    check_window_length,
    check_layers,
    check_pattern_of_model,
    check_dense_layers_of_model,
    check_recipe_of_model,
    check_memory_of_text,
    check_memory_of_statistics,
    check_memory_of_search,
    check_memory_of_gradients,
    check_memory_of_reconstruction,
    check_memory_of_sparsegpt,
    check_memory_of_recovery,
    check_memory_of_evaluation,
    check_memory_of_diagnosis,
)
# Cheap checks come first, those of models after those of texts, and the tracking server last.
CHECKS: tuple[Callable[..., object], ...] = (
    check_disks,
    check_plan,
    check_placement,
    check_device,
    check_recipe,
    check_channel_order,
    check_carried_ratios,
    check_search,
    check_finalists,
    check_search_texts,
    check_search_workers,
    check_fitted_sequences,
    check_recovery,
    check_recovery_gpus,
    check_perplexity,
    check_evaluation,
    check_calibration_text,
    check_models,
    check_model,
    check_export,
    check_texts,
    check_checkpoint,
    check_room_for_checkpoint,
    check_limits,
    connect,
)
