"""AlphaPruning: layers whose spectrum has a heavier tail are pruned less (Lu et al. 2024, arXiv 2410.10912)."""

import torch
from torch import Tensor

from optishear.models.layers import PrunableLayer

# Half the distance between the largest and the smallest ratio, as a share of their mean; the published code's default.
REACH = 0.3
# Bins of the histogram whose peak is the begin of the tail.
BINS = 100
# The tail begins between these multiples of the peak.
NEAR_PEAK = (0.95, 1.5)


def alphapruning_ratios(layers: list[PrunableLayer], sparsity: float, reach: float = REACH) -> Tensor:
    """The fraction to prune of each decoder layer, [decoder layers] float64 (equation 3).

    The mean exponent of a decoder layer's weights is mapped linearly to [1 - reach, 1 + reach], and the whole is
    scaled to meet the target: a heavy tail (a small exponent) indicates a well-trained layer, which is pruned less.

    Args:
        layers: the model's prunable layers.
        sparsity: the mean over the prunable weights.
        reach: see ``REACH``.
    """
    depth = max(layer.decoder_layer for layer in layers) + 1
    exponents_of_blocks: list[list[float]] = [[] for _ in range(depth)]
    sizes = torch.zeros(depth, dtype=torch.float64)
    for layer in layers:
        exponents_of_blocks[layer.decoder_layer].append(tail_exponent(squared_singular_values(layer.module.weight)))
        sizes[layer.decoder_layer] += layer.module.weight.numel()
    exponents = torch.tensor(
        [sum(values) / len(values) if values else float("inf") for values in exponents_of_blocks], dtype=torch.float64
    )
    finite = exponents[exponents.isfinite()]
    if not len(finite):
        return torch.full_like(sizes, sparsity)
    # A spectrum without a tail, such as that of a layer of zeros, counts as the lightest.
    exponents = exponents.clamp(max=float(finite.max()))
    spread = exponents.max() - exponents.min()
    relative = (exponents - exponents.min()) / spread if spread > 0 else torch.full_like(exponents, 0.5)
    factors = 1 - reach + 2 * reach * relative
    return factors * sparsity * sizes.sum() / (sizes * factors).sum()


@torch.no_grad()
def squared_singular_values(weight: Tensor) -> Tensor:
    """The eigenvalues of the weight's correlation matrix WᵀW, ascending, [min(out, in)] float64 on the CPU.

    Those of the smaller of WᵀW and WWᵀ, which take a fraction of the time of the singular values of W. In float64
    their error is far below the smallest eigenvalue that counts.
    """
    exact = weight.detach().double()
    values: Tensor = torch.linalg.eigvalsh(exact.T @ exact if len(exact) > exact.shape[1] else exact @ exact.T)
    return values.clamp(min=0).cpu()


def tail_exponent(eigenvalues: Tensor) -> float:
    """The exponent of a power law fitted to the upper tail of a spectrum (PL_Alpha_Hill, equation 2).

    Hill's estimator over the k largest eigenvalues, 1 + k / sum log(l_i / l_min). The tail begins near the peak of
    the histogram of log l, there where the Kolmogorov–Smirnov distance between tail and power law is smallest.

    Args:
        eigenvalues: [n], ascending; zeros are left out. A tail needs at least two different ones.

    Returns:
        The exponent; infinite if there is no tail.
    """
    positive = eigenvalues[eigenvalues > eigenvalues.max() * torch.finfo(torch.float32).eps]
    logs = positive.log()
    if len(logs) < 2 or logs[0] == logs[-1]:
        return float("inf")
    peak = _peak(positive)
    best = (float("inf"), float("inf"))
    for start in range(len(logs) - 1):
        beginning = float(positive[start])
        if beginning < NEAR_PEAK[0] * peak:
            continue
        if beginning > NEAR_PEAK[1] * peak and best[0] < float("inf"):
            break
        exponent = hill(logs, start)
        empirical = torch.arange(len(logs) - start, dtype=torch.float64) / (len(logs) - start)
        fitted = 1 - (positive[start:] / beginning) ** (1 - exponent)
        best = min(best, (float((fitted - empirical).abs().max()), exponent))
    return best[1]


def hill(logs: Tensor, start: int) -> float:
    """Hill's estimate from the ascending logarithms of the eigenvalues, with the tail from ``start`` on."""
    count = len(logs) - start
    excess = float((logs[start:] - logs[start]).sum())
    return 1 + count / excess if excess > 0 else float("inf")


def _peak(eigenvalues: Tensor) -> float:
    """The lower edge of the fullest bin of the histogram of their logarithms."""
    logs = eigenvalues.log10()
    counts = torch.histc(logs, BINS)
    edge = logs.min() + (logs.max() - logs.min()) * int(counts.argmax()) / BINS
    return float(10**edge)
