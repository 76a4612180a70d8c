"""The two factors of a pruning metric, transformed weights and transformed activations, as base-10 logarithms.

Both spaces write a score as S = T_W ⊙ T_X. In the meta space T_W = c_W(|W|) u_W(|W|) and T_X = c_X(x²) u_X(x), the
two sides of equation 2 of arXiv 2502.10735. In the power space T_W = |W| (q / mean q)^b, with q = t / C + (1 - t) / R,
and T_X = x^a. Wanda has T_W = |W| and T_X = x: weights and activations before any transform.

No mask sees a constant factor, but scales do. The meta space is taken as the paper writes it; in the power space, which
is written for masks alone, q comes relative to its mean over the layer, so that the sums move no scale by themselves.
"""

import math

import torch
from torch import Tensor

from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.operations import COEFFICIENTS, Operation

LN10 = math.log(10)


@torch.no_grad()
def log_factors(metric: MetaMetric | PowerMetric, weight: Tensor, squared_norms: Tensor) -> tuple[Tensor, Tensor]:
    """log10 of both factors, which neither overflow (exp) nor vanish (softmax) as the factors themselves would.

    Args:
        metric: the metric, in the form in which it is written: a constant factor counts here, though no mask sees it.
        weight: [out, in], any floating dtype.
        squared_norms: [in], squared L2 norm of each input channel, averaged over calibration sequences.

    Returns:
        Transformed weights [out, in] and transformed activations [1, in], float32; minus infinity for a zero, NaN
        where the factor is not defined.
    """
    magnitudes = weight.detach().float().abs()
    squared = squared_norms.to(device=weight.device, dtype=torch.float32).reshape(1, -1)
    if isinstance(metric, PowerMetric):
        activations = _power(metric.activation_exponent, squared.log10() / 2)
        if not metric.sums_exponent:
            return magnitudes.log10(), activations
        by_column = metric.column_share / magnitudes.sum(dim=0, keepdim=True)
        by_row = (1 - metric.column_share) / magnitudes.sum(dim=1, keepdim=True)
        sums = by_column + by_row
        relative = sums / sums[torch.isfinite(sums)].mean()
        return magnitudes.log10() + metric.sums_exponent * relative.log10(), activations
    weights = _log_operation(metric.weight_operation, magnitudes)
    activations = _log_operation(metric.activation_operation, squared.sqrt())
    return (
        weights + COEFFICIENTS[metric.weight_coefficient](magnitudes).log10(),
        activations + COEFFICIENTS[metric.activation_coefficient](squared).log10(),
    )


def _power(exponent: float, logarithms: Tensor) -> Tensor:
    """``exponent`` times logarithms, with 0^0 = 1 as in ``torch.pow``."""
    return logarithms * exponent if exponent else torch.zeros_like(logarithms)


def _log_operation(operation: Operation, values: Tensor) -> Tensor:
    match operation:
        case "exp":
            return values / LN10
        case "softmax":
            return torch.log_softmax(values, dim=-1) / LN10
        case "log":
            return values.log1p().log10()
        case "sigmoid":
            return torch.nn.functional.logsigmoid(values) / LN10
        case "sqrt":
            return values.log10() / 2
        case "square":
            return values.log10() * 2
        case "identity":
            return values.log10()
