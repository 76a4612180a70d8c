"""DLP: layers with a larger median score are pruned more (Chen et al. 2025, arXiv 2505.23807)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from optishear.models.layers import PrunableLayer
from optishear.ratios.wanda_scores import block_scores
from optishear.statistics.statistics import Statistics

# The paper's alpha, half the distance between the largest and the smallest ratio; the published command for 70 %.
REACH = 0.15
# A score's 32 bits are compared in two halves.
_HALF = 16


def dlp_ratios(layers: list[PrunableLayer], statistics: Statistics, sparsity: float, reach: float = REACH) -> Tensor:
    """The fraction to prune of each decoder layer, [decoder layers] float64 (section 3).

    The median S of a decoder layer's Wanda scores is its unimportance, I = 1 - S / sum S its importance, and the ratio
    is sparsity + mean d - d, where d is I moved and scaled to [0, 2 * reach].

    Args:
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        sparsity: the mean over the decoder layers.
        reach: half the distance between the largest and the smallest ratio (alpha).
    """
    importance = -median_scores(layers, statistics)  # the sum and the constant cancel where I is scaled
    spread = importance.max() - importance.min()
    scaled = (importance - importance.min()) / spread * 2 * reach if spread > 0 else torch.zeros_like(importance)
    return sparsity + scaled.mean() - scaled


@torch.no_grad()
def median_scores(layers: list[PrunableLayer], statistics: Statistics) -> Tensor:
    """The lower median of the Wanda scores of each decoder layer, all its linear layers together, float64.

    Non-negative floats are in the order of their bits. So a histogram of the upper half of the bits gives the upper
    half of the median, and one of the lower half among these the rest: exact, and in memory for one layer at a time.
    """
    medians = []
    for index in range(max(layer.decoder_layer for layer in layers) + 1):
        rank = (sum(layer.module.weight.numel() for layer in layers if layer.decoder_layer == index) - 1) // 2
        if rank < 0:  # a block may hold no linear layer
            medians.append(0.0)
            continue
        upper = torch.zeros(2**_HALF, dtype=torch.int64)
        for bits in _bits(layers, statistics, index):
            upper += torch.bincount(bits >> _HALF, minlength=2**_HALF).cpu()
        place, rank = _place(upper, rank)
        lower = torch.zeros(2**_HALF, dtype=torch.int64)
        for bits in _bits(layers, statistics, index):
            chosen = bits[(bits >> _HALF) == place] & (2**_HALF - 1)
            lower += torch.bincount(chosen, minlength=2**_HALF).cpu()
        median = torch.tensor([(place << _HALF) + _place(lower, rank)[0]], dtype=torch.int32)
        medians.append(float(median.view(torch.float32)))
    return torch.tensor(medians, dtype=torch.float64)


def _bits(layers: list[PrunableLayer], statistics: Statistics, decoder_layer: int) -> Iterator[Tensor]:
    for values in block_scores(layers, statistics, decoder_layer):
        yield values.view(torch.int32).flatten()


def _place(histogram: Tensor, rank: int) -> tuple[int, int]:
    """The bin that holds the element of a rank, and the element's rank inside the bin."""
    ends = histogram.cumsum(0)
    place = int(torch.searchsorted(ends, rank, right=True))
    return place, rank - int(ends[place] - histogram[place])
