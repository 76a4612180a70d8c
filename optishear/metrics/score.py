"""The scores of a layer's weights under a metric."""

import torch
from torch import Tensor

from optishear.metrics.canonical import CanonicalKey, canonical_key, distinct_meta_metrics
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.operations import COEFFICIENTS, OPERATIONS

_REPRESENTATIVES: dict[CanonicalKey, MetaMetric] = distinct_meta_metrics()


def scores(metric: MetaMetric | PowerMetric, weight: Tensor, squared_norms: Tensor) -> Tensor:
    """Score every weight of a layer; in each row the lowest are pruned first.

    A meta metric is computed in the form of its class's representative, so that equal metrics give equal bits.

    Args:
        metric: the metric.
        weight: [out, in], any floating dtype.
        squared_norms: [in], squared L2 norm of each input channel, averaged over calibration sequences.

    Returns:
        [out, in] float32 (float64 where the weight is). A score that is not a number or not finite becomes minus
        infinity: such weights are pruned first.
    """
    working = torch.float64 if weight.dtype == torch.float64 else torch.float32
    converted = weight.detach().to(working)
    magnitudes = converted.abs() if weight.dtype == working else converted.abs_()
    squared = squared_norms.to(device=weight.device, dtype=working).reshape(1, -1)
    unusable = None
    # A sum is finite only if all of it is: one cheap pass instead of a look at every weight. What is not finite
    # is taken out first, so that it does not spoil the sums of its row and column.
    if not (torch.isfinite(magnitudes.sum()) and torch.isfinite(squared.sum())):
        unusable = ~torch.isfinite(magnitudes) | ~torch.isfinite(squared)
        magnitudes = torch.where(torch.isfinite(magnitudes), magnitudes, 0)
        squared = torch.where(torch.isfinite(squared), squared, 0)
    if isinstance(metric, PowerMetric):
        result = _power_scores(metric, magnitudes, squared)
    else:
        result = _meta_scores(_REPRESENTATIVES[canonical_key(metric)], magnitudes, squared)
    if not torch.isfinite(result.sum()):
        result = torch.nan_to_num(result, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
    return result if unusable is None else result.masked_fill(unusable, -torch.inf)


def gradient_scores(weight: Tensor, gradient: Tensor) -> Tensor:
    """Scores of ``GradientMetric``.

    Args:
        weight: [out, in], any floating dtype.
        gradient: [out, in], the min-max scaled gradient norms of ``Statistics.gradient_of``.

    Returns:
        [out, in] float32, with minus infinity where a score would not be finite.
    """
    result = weight.detach().float().square() * gradient.to(device=weight.device, dtype=torch.float32)
    return torch.nan_to_num(result, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def _meta_scores(metric: MetaMetric, magnitudes: Tensor, squared: Tensor) -> Tensor:
    """Scores of a meta metric; ``magnitudes`` is used up, since a layer's passes over its weights are what costs."""
    activation = COEFFICIENTS[metric.activation_coefficient](squared) * OPERATIONS[metric.activation_operation](
        squared.sqrt()
    )
    columns: Tensor = activation
    sums = None
    if metric.weight_coefficient == "column_sum":
        columns = columns * COEFFICIENTS["column_sum"](magnitudes)
    elif metric.weight_coefficient == "relative_sum":
        sums = magnitudes.sum(dim=1, keepdim=True) + magnitudes.sum(dim=0, keepdim=True)
    result = OPERATIONS[metric.weight_operation](magnitudes).mul_(columns)
    return result if sums is None else result.div_(sums)


def _power_scores(metric: PowerMetric, magnitudes: Tensor, squared: Tensor) -> Tensor:
    """Scores of a point of the power space; ``magnitudes`` is used up."""
    columns = squared.pow(metric.activation_exponent / 2)
    if not metric.sums_exponent or not metric.column_share:
        return magnitudes.mul_(columns)
    by_column = metric.column_share / magnitudes.sum(dim=0, keepdim=True)
    if metric.column_share == 1:
        return magnitudes.mul_(columns * by_column.pow(metric.sums_exponent))
    by_row = (1 - metric.column_share) / magnitudes.sum(dim=1, keepdim=True)
    sums = by_column + by_row
    if metric.sums_exponent != 1:
        sums.pow_(metric.sums_exponent)
    return magnitudes.mul_(columns).mul_(sums)
