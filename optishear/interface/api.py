"""The library in a few calls, on a model that is already in memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import calibrate, check_calibration
from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError
from optishear.evaluation.evaluate import Evaluation, check_evaluation, default_batch_size
from optishear.evaluation.evaluate import evaluate as evaluate_model
from optishear.interface.arguments import EvaluateArguments, PruneArguments, RecoverArguments, SearchArguments
from optishear.interface.signature import with_defaults
from optishear.models.devices import further_devices
from optishear.models.layers import prunable_layers
from optishear.models.select_layers import select_layers
from optishear.models.selection import Selection
from optishear.parameters.bos import Bos, BosParameters
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.evaluation import EvaluationParameters
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.recovery import RecoveryParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern, parse_pattern
from optishear.pruning.apply import PruningSummary, apply_recipe
from optishear.recipes.recipe import Recipe, find_recipe, with_selection
from optishear.reconstruction.reconstruct import reconstruct
from optishear.recovery.budget import Budget
from optishear.recovery.recover import recover as recover_model
from optishear.recovery.recovery_text import HELD_OUT, RecoveryText
from optishear.recovery.summary import RecoverySummary
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from optishear.statistics.gradients import collect_gradients
from optishear.statistics.statistics import Statistics

_BLOCKS = ("sequences", "sequence_length", "bos")


@with_defaults(CalibrationParameters, SearchParameters)
def search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sparsity: Pattern | str | float = "0.5",
    calibration: str | CalibrationSet = "self",
    statistics: Statistics | None = None,
    seed: int = 0,
    progress: bool = True,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    **parameters: Unpack[SearchArguments],
) -> Recipe:
    """Search the best recipe for a model. The model is not changed.

    >>> recipe = optishear.search(
    ...     model, tokenizer, sparsity="2:4", sequences=8, sequence_length=64, trials=12, progress=False
    ... )
    >>> print(recipe.sparsity)
    2:4

    Args:
        model: the dense model.
        tokenizer: its tokenizer.
        sparsity: a fraction such as 0.5, or N:M such as 2:4.
        calibration: a source (``self``, ``hub:NAME[/CONFIG]`` or a file), or token blocks.
        statistics: activation statistics of the dense model; collected if not given.
        seed: decides every random choice.
        progress: show progress bars.
        include: patterns of the layers to prune, such as ``mlp.*``; all if empty.
        exclude: patterns of the layers not to prune.
        **parameters: fields of ``CalibrationParameters`` and ``SearchParameters``, such as ``trials`` or ``budget``.

    Raises:
        InputError: if an argument is invalid, before anything expensive.
    """
    pattern = parse_pattern(sparsity)
    selection = Selection.of(include, exclude)
    select_layers(model, selection)
    sizes, others = _split_sizes(parameters)
    settings = read_parameters(SearchParameters, others)
    for text in settings.search_calibrations:
        check_calibration(text.source)
    blocks = _blocks(model, tokenizer, calibration, seed, sizes)
    calibrations = {"": blocks}
    for text in settings.search_calibrations:
        calibrations[text.name] = calibrate(
            model,
            tokenizer,
            calibration=text.source,
            sequences=settings.search_sequences,
            sequence_length=blocks.tokens.shape[1],
            seed=seed,
            bos=sizes.get("bos", BosParameters.model_fields["bos"].default),
        )
    statistics = statistics or collect_statistics(model, blocks, progress=progress)
    return run_search(
        model, calibrations, statistics, settings, pattern, seed=seed, progress=progress, selection=selection
    ).recipe


@with_defaults(CalibrationParameters, ReconstructionParameters)
def prune(
    model: PreTrainedModel,
    recipe: Recipe | str,
    sparsity: Pattern | str | float = "0.5",
    statistics: Statistics | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    calibration: str | CalibrationSet = "self",
    seed: int = 0,
    progress: bool = True,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    **parameters: Unpack[PruneArguments],
) -> PruningSummary:
    """Prune a model in place.

    >>> summary = optishear.prune(
    ...     model, "wanda", sparsity=0.5, tokenizer=tokenizer, sequences=8, sequence_length=64,
    ...     reconstruction="admm", progress=False,
    ... )
    >>> summary.achieved_sparsity
    0.5

    Args:
        model: the dense model.
        recipe: a recipe, a recipe file, or the name of a published one (magnitude, wanda, ria, pruner_zero).
        sparsity: the target of a published recipe; other recipes have their own.
        statistics: activation statistics of the dense model; collected on the calibration set if not given.
        tokenizer: needed to make a calibration set.
        calibration: as for ``search``.
        seed: as for ``search``.
        progress: show progress bars.
        include: as for ``search``; a recipe with patterns of its own has them already.
        exclude: as for ``search``.
        **parameters: fields of ``CalibrationParameters`` and ``ReconstructionParameters``, such as ``sequences`` or
            ``reconstruction``; without the latter only the masks are applied.

    Raises:
        InputError: if an argument is invalid, before any weight is changed.
    """
    recipe = find_recipe(recipe, sparsity) if isinstance(recipe, str) else recipe
    recipe = with_selection(recipe, include, exclude)
    select_layers(model, recipe.selection)
    sizes, others = _split_sizes(parameters)
    settings = read_parameters(ReconstructionParameters, others)
    complete = statistics is not None and (bool(statistics.gradients) or not recipe.needs_gradients)
    if statistics is not None and complete and not settings.reconstructs:
        _refuse_sizes(sizes, "the statistics are given and nothing is reconstructed")
        return apply_recipe(model, recipe, statistics, progress=progress)
    blocks = _blocks(model, tokenizer, calibration, seed, sizes)
    statistics = statistics or collect_statistics(model, blocks, progress=progress)
    if recipe.needs_gradients and not statistics.gradients:
        statistics = replace(statistics, gradients=collect_gradients(model, blocks, progress))
    if settings.reconstructs:
        return reconstruct(model, recipe, statistics, blocks, settings, progress=progress).pruning
    return apply_recipe(model, recipe, statistics, progress=progress)


@with_defaults(RecoveryParameters)
def recover(
    pruned: PreTrainedModel,
    dense: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    calibration: str = "self",
    sequence_length: int = CalibrationParameters.model_fields["sequence_length"].default,
    bos: Bos = BosParameters.model_fields["bos"].default,
    seed: int = 0,
    state_file: str | Path | None = None,
    **parameters: Unpack[RecoverArguments],
) -> RecoverySummary:
    """Train the kept weights of a pruned model in place, on the dense model's next-token distributions.

    >>> pruned = copy.deepcopy(model)
    >>> pruning = optishear.prune(
    ...     pruned, "wanda", tokenizer=tokenizer, sequences=8, sequence_length=32, progress=False
    ... )
    >>> summary = optishear.recover(pruned, model, tokenizer, sequence_length=32, recovery_tokens=2048)
    >>> summary.tokens
    2048

    Args:
        pruned: the pruned model; weights that are zero stay zero.
        dense: the dense model that it was pruned from, on the same device.
        tokenizer: their tokenizer.
        calibration: the source of the text, as for ``search``, where ``recovery_texts`` is not given.
        sequence_length: tokens of a sequence.
        bos: where the tokenizer's BOS goes.
        seed: of the order of the text.
        state_file: a safetensors file to save the state to every few minutes, and to go on from if it is there.
        **parameters: fields of ``RecoveryParameters``; ``recovery_budget`` or ``recovery_tokens`` is needed.

    Raises:
        InputError: if an argument is invalid, before any weight is changed.
    """
    settings = read_parameters(RecoveryParameters, dict(parameters))
    if not settings.recovers:
        raise InputError("A recovery needs a budget; give recovery_budget, such as 10m, or recovery_tokens.")
    sources = [text.source for text in settings.recovery_texts] or [calibration]
    for source in sources:
        check_calibration(source)
    further = further_devices(pruned.device, settings.recovery_gpus)
    return recover_model(
        pruned,
        dense,
        prunable_layers(pruned),
        RecoveryText(sources, dense, tokenizer, sequence_length, HELD_OUT, seed=seed, bos=bos),
        Budget.of(settings),
        sequences_per_step=settings.recovery_sequences,
        rate=settings.recovery_rate,
        further_devices=further,
        state_file=Path(state_file) if state_file is not None else None,
    )


@with_defaults(EvaluationParameters)
def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    seed: int = 0,
    **parameters: Unpack[EvaluateArguments],
) -> Evaluation:
    """Measure the perplexity and the task scores of a model.

    >>> evaluation = optishear.evaluate(model, tokenizer, window_length=128, windows=4)
    >>> evaluation.perplexity > 1
    True

    Args:
        model: a model in memory, dense or pruned.
        tokenizer: its tokenizer.
        seed: of few-shot examples and sampled answers.
        **parameters: fields of ``EvaluationParameters``, such as ``evaluation_text`` or ``tasks``.

    Raises:
        InputError: if an argument is invalid, the text is too short, or a task is unknown.
    """
    settings = read_parameters(EvaluationParameters, dict(parameters))
    check_evaluation(settings)
    batch_size = settings.batch_size or default_batch_size(model.device)
    return evaluate_model(
        lambda: (model, tokenizer), settings.model_copy(update={"batch_size": batch_size}), seed
    ).evaluation


def _split_sizes(parameters: SearchArguments | PruneArguments) -> tuple[dict[str, Any], dict[str, Any]]:
    """The size of the calibration set, and the other arguments."""
    sizes = {name: value for name, value in parameters.items() if name in _BLOCKS}
    return sizes, {name: value for name, value in parameters.items() if name not in _BLOCKS}


def _refuse_sizes(sizes: dict[str, Any], reason: str) -> None:
    for name, value in sizes.items():
        raise InputError(f"The parameter {name} cannot be {value!r}: {reason}; leave it out.")


def _blocks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    calibration: str | CalibrationSet,
    seed: int,
    sizes: dict[str, Any],
) -> CalibrationSet:
    if isinstance(calibration, CalibrationSet):
        _refuse_sizes(sizes, "the calibration set is given")
        return calibration
    if tokenizer is None:
        raise InputError("The parameter tokenizer is needed to make a calibration set; give it, or a calibration set.")
    settings = read_parameters(CalibrationParameters, {"calibration": calibration, **sizes})
    return calibrate(
        model,
        tokenizer,
        calibration=settings.calibration,
        sequences=settings.sequences,
        sequence_length=settings.sequence_length,
        seed=seed,
        bos=settings.bos,
    )
