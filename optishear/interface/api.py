"""The library in two calls, on a model that is already in memory."""

from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.calibrate import calibrate
from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError
from optishear.parameters.calibration import CalibrationParameters
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern, parse_pattern
from optishear.pruning.apply import PruningSummary, apply_recipe
from optishear.recipes.recipe import Recipe, find_recipe
from optishear.reconstruction.reconstruct import reconstruct
from optishear.searching.search import run_search
from optishear.statistics.collect import collect_statistics
from optishear.statistics.statistics import Statistics


def search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sparsity: Pattern | str | float = "0.5",
    calibration: str | CalibrationSet = "self",
    statistics: Statistics | None = None,
    seed: int = 0,
    progress: bool = True,
    **parameters: Any,
) -> Recipe:
    """Search the best recipe for a model; the model is left as it was.

    >>> recipe = optishear.search(model, tokenizer, sparsity="2:4", budget="10m")
    >>> optishear.prune(model, recipe, tokenizer=tokenizer)
    >>> optishear.save_checkpoint("pruned", model, tokenizer, recipe, card="")

    Args:
        model: the dense model.
        tokenizer: its tokenizer.
        sparsity: a fraction such as 0.5, or N:M such as 2:4.
        calibration: a source (``self``, ``hub:NAME[/CONFIG]`` or a file), or token blocks made before.
        statistics: activation statistics, where they were taken before.
        seed: decides every random choice.
        progress: show progress bars.
        **parameters: fields of ``CalibrationParameters`` and ``SearchParameters``, such as ``trials`` or ``budget``.

    Raises:
        InputError: if something given is unusable, before anything expensive.
    """
    pattern = parse_pattern(sparsity)
    for_calibration: dict[str, Any] = {
        name: parameters.pop(name) for name in ("sequences", "sequence_length") if name in parameters
    }
    searched = read_parameters(SearchParameters, parameters)
    blocks = _blocks(model, tokenizer, calibration, seed, for_calibration)
    observed = statistics or collect_statistics(model, blocks, progress=progress)
    return run_search(model, {"": blocks}, observed, searched, pattern, seed=seed, progress=progress).recipe


def prune(
    model: PreTrainedModel,
    recipe: Recipe | str,
    sparsity: Pattern | str | float = "0.5",
    statistics: Statistics | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    calibration: str | CalibrationSet = "self",
    seed: int = 0,
    progress: bool = True,
    **parameters: Any,
) -> PruningSummary:
    """Prune a model in place.

    >>> optishear.prune(model, recipe, tokenizer=tokenizer, reconstruction="admm", distillation_steps=16)

    Args:
        model: the dense model.
        recipe: a recipe, a recipe file, or the name of a published one (magnitude, wanda, ria).
        sparsity: the target of a published recipe; a recipe of your own brings its own.
        statistics: activation statistics of the dense model; taken from the calibration where not given.
        tokenizer: needed to make calibration text.
        calibration: as for ``search``.
        seed: as for ``search``.
        progress: show progress bars.
        **parameters: fields of ``ReconstructionParameters``, such as ``reconstruction``; masks only where not given.

    Raises:
        InputError: if something given is unusable, before any weight is touched.
    """
    wanted = find_recipe(recipe, sparsity) if isinstance(recipe, str) else recipe
    made_anew = read_parameters(ReconstructionParameters, parameters)
    if statistics is not None and not made_anew.reconstructs:
        return apply_recipe(model, wanted, statistics, progress=progress)
    blocks = _blocks(model, tokenizer, calibration, seed, {})
    observed = statistics or collect_statistics(model, blocks, progress=progress)
    if made_anew.reconstructs:
        return reconstruct(model, wanted, observed, blocks, made_anew, progress=progress).pruning
    return apply_recipe(model, wanted, observed, progress=progress)


def _blocks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    calibration: str | CalibrationSet,
    seed: int,
    sizes: dict[str, Any],
) -> CalibrationSet:
    if isinstance(calibration, CalibrationSet):
        return calibration
    if tokenizer is None:
        raise InputError("The statistics have to be taken first, which needs a tokenizer; give one, or statistics.")
    wanted = read_parameters(CalibrationParameters, {"calibration": calibration, **sizes})
    return calibrate(
        model,
        tokenizer,
        calibration=wanted.calibration,
        sequences=wanted.sequences,
        sequence_length=wanted.sequence_length,
        seed=seed,
    )
