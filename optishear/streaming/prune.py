"""Prune a model on disk, with or without the reconstruction of its kept weights."""

from pathlib import Path

import torch
from tqdm import tqdm

from optishear.calibration.calibration_set import CalibrationSet
from optishear.errors import InputError
from optishear.models.select_layers import select_layers
from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import PruningSummary, check_pattern, check_statistics, prune_layer
from optishear.recipes.fit import check_fits
from optishear.recipes.layer_counts import layer_counts
from optishear.recipes.recipe import Recipe
from optishear.reconstruction.reconstruct import ReconstructionSummary, Residence, reconstruct_blocks
from optishear.statistics.statistics import Statistics
from optishear.streaming.disk_model import DiskModel
from optishear.streaming.pruned_files import pruned_files


@torch.no_grad()
def prune_on_disk(
    disk: DiskModel, recipe: Recipe, statistics: Statistics, folder: Path, progress: bool = False
) -> PruningSummary:
    """Write the weights of the pruned model: what ``apply_recipe`` and ``save_checkpoint`` write, byte for byte.

    Args:
        disk: the dense model.
        recipe: what to prune.
        statistics: of the dense model.
        folder: an empty folder for the weight files.
        progress: show a progress bar.

    Raises:
        InputError: as ``apply_recipe``, where weights that are not finite are found when their block is read; or if the
            recipe reorders channels.
    """
    layers = select_layers(disk.model, recipe.selection)
    check_fits(recipe, layers, disk.model.config.model_type)
    check_pattern(recipe.sparsity, layers)
    check_statistics(recipe, layers, statistics)
    _check_order(recipe)
    counts = dict(zip((layer.name for layer in layers), layer_counts(recipe, layers), strict=True))
    with pruned_files(disk, layers, folder) as files:
        for index in tqdm(range(len(disk.blocks)), desc="prune", unit="block", disable=not progress):
            with files.block(index):
                for layer in layers:
                    if layer.decoder_layer == index:
                        prune_layer(layer, recipe, statistics, counts[layer.name])
    return files.summary()


def reconstruct_on_disk(
    disk: DiskModel,
    recipe: Recipe,
    statistics: Statistics,
    calibration: CalibrationSet,
    parameters: ReconstructionParameters,
    folder: Path,
    progress: bool = False,
) -> ReconstructionSummary:
    """Write the weights of the reconstructed model: what ``reconstruct`` and ``save_checkpoint`` write, byte for byte.

    Args:
        disk: the dense model.
        recipe: as for ``reconstruct``.
        statistics: of the dense model.
        calibration: what the errors are measured on.
        parameters: of the reconstruction.
        folder: an empty folder for the weight files.
        progress: show a progress bar.

    Raises:
        InputError: as ``reconstruct``; or if the recipe reorders channels.
    """
    _check_order(recipe)
    layers = select_layers(disk.model, recipe.selection)
    with pruned_files(disk, layers, folder) as files:
        residence = Residence(files.block, disk.passing_through, lambda: files.summary())
        return reconstruct_blocks(
            disk.model, layers, recipe, statistics, calibration, parameters, residence, progress=progress
        )


def _check_order(recipe: Recipe) -> None:
    if recipe.permute_channels:
        raise InputError(
            "The recipe reorders channels (permute_channels), which cannot be done to a model on disk; give another "
            "device."
        )
