"""Activation statistics of a model on disk."""

import torch
from tqdm import tqdm

from optishear.calibration.calibration_set import CalibrationSet
from optishear.models.inputs import watching_inputs
from optishear.models.layers import all_prunable_layers
from optishear.models.token_ids import check_token_ids
from optishear.statistics.collect import InputSums, warn_of_few_tokens
from optishear.statistics.statistics import Statistics
from optishear.streaming.disk_model import DiskModel
from optishear.streaming.hidden_states import each_block


@torch.no_grad()
def statistics_from_disk(
    disk: DiskModel, calibration: CalibrationSet, batch_size: int = 4, progress: bool = True
) -> Statistics:
    """As ``collect_statistics``, with the same result, and one block of the model in memory.

    Args:
        disk: the dense model.
        calibration: token blocks [sequences, sequence_length].
        batch_size: sequences per forward pass.
        progress: show a progress bar.

    Raises:
        InputError: as ``collect_statistics``.
    """
    check_token_ids(disk.model, calibration.tokens)
    sums = InputSums(all_prunable_layers(disk.model))
    batches = list(calibration.tokens.split(batch_size))
    with tqdm(total=len(disk.blocks), desc="statistics", unit="block", disable=not progress) as bar:
        for index, run in each_block(disk, batches):
            with watching_inputs(disk.layers_of(index), sums.see):
                run(sums.end_batch)
            sums.check(disk.dtype)
            bar.update()
    statistics = sums.statistics(*calibration.tokens.shape)
    warn_of_few_tokens(statistics)
    return statistics
