"""OWL: layers with a larger share of outlying scores are pruned less (Yin et al. 2024, arXiv 2310.05175)."""

import torch
from torch import Tensor

from optishear.models.layers import PrunableLayer
from optishear.ratios.wanda_scores import block_scores
from optishear.statistics.statistics import Statistics

# The paper's M and lambda.
THRESHOLD = 5.0
REACH = 0.08


def owl_ratios(
    layers: list[PrunableLayer],
    statistics: Statistics,
    sparsity: float,
    threshold: float = THRESHOLD,
    reach: float = REACH,
) -> Tensor:
    """The fraction to prune of each decoder layer, [decoder layers] float64 (section 3.2).

    The outlier shares D are mapped to sparsity - (D' - mean D'), where D' is D moved and scaled to [0, 2 * reach].

    Args:
        layers: the model's prunable layers.
        statistics: taken on the dense model.
        sparsity: the mean over the decoder layers.
        threshold: how many times the decoder layer's mean a score must be to count as an outlier (M).
        reach: half the distance between the largest and the smallest ratio (lambda).
    """
    shares = outlier_shares(layers, statistics, threshold)
    spread = shares.max() - shares.min()
    scaled = (shares - shares.min()) / spread * 2 * reach if spread > 0 else torch.zeros_like(shares)
    return sparsity - (scaled - scaled.mean())


@torch.no_grad()
def outlier_shares(layers: list[PrunableLayer], statistics: Statistics, threshold: float = THRESHOLD) -> Tensor:
    """The share of Wanda scores of each decoder layer that exceed ``threshold`` times their mean, float64.

    All linear layers of a decoder layer are taken together, as the paper's code does.
    """
    shares = []
    for index in range(max(layer.decoder_layer for layer in layers) + 1):
        # A block may hold no linear layer.
        count = max(1, sum(layer.module.weight.numel() for layer in layers if layer.decoder_layer == index))
        total = sum(float(values.sum(dtype=torch.float64)) for values in block_scores(layers, statistics, index))
        limit = threshold * total / count
        shares.append(sum(int((values > limit).sum()) for values in block_scores(layers, statistics, index)) / count)
    return torch.tensor(shares, dtype=torch.float64)
