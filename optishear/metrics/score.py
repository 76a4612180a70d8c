"""The scores of a layer's weights under a metric."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from optishear.metrics.canonical import MetricKey, canonical_key, distinct_meta_metrics
from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.operations import COEFFICIENTS, OPERATIONS
from optishear.row_blocks import column_blocks, row_blocks

_REPRESENTATIVES: dict[MetricKey, MetaMetric] = distinct_meta_metrics()


@dataclass(frozen=True)
class WeightSums:
    """Sums of a layer's magnitudes, which are the same under every metric.

    Attributes:
        rows: [out, 1], sum of |W| over the inputs, without what is not finite.
        columns: [1, in], the same over the outputs.
        all_finite: whether every weight is.
    """

    rows: Tensor
    columns: Tensor
    all_finite: bool


def weight_sums(weight: Tensor) -> WeightSums:
    """The sums of a layer's magnitudes, in float32 (float64 where the weight is).

    Blocks of rows are summed over the inputs, and blocks of columns over the outputs: the sums have the bits of those
    of the whole layer, and memory is read twice.
    """
    sums = _sums_of(weight, lambda magnitudes: magnitudes)
    # A sum is finite only if all of it is: no look at every weight. What is not finite is taken out, so that it does
    # not spoil the sums of its row and column.
    if bool(torch.isfinite(sums[0]).all()):
        return WeightSums(*sums, all_finite=True)
    sums = _sums_of(weight, lambda magnitudes: torch.where(torch.isfinite(magnitudes), magnitudes, 0))
    return WeightSums(*sums, all_finite=False)


def _sums_of(weight: Tensor, change: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The sums [out, 1] and [1, in] of changed magnitudes."""
    rows = [change(_magnitudes(weight[rows])).sum(dim=1, keepdim=True) for rows in row_blocks(weight)]
    columns = [change(_magnitudes(weight[:, columns])).sum(dim=0, keepdim=True) for columns in column_blocks(weight)]
    return torch.cat(rows), torch.cat(columns, dim=1)


class LayerScores:
    """The scores of a layer's weights under one metric, computed for some rows at a time.

    The activation factor of a metric is computed once; the rows are independent of each other, so that blocks
    of them can be scored by several threads and in a processor's caches. The blocks of ``row_blocks`` give the same
    bits as the whole layer.
    """

    def __init__(
        self,
        metric: MetaMetric | PowerMetric,
        weight: Tensor,
        squared_norms: Tensor,
        sums: WeightSums | None = None,
    ) -> None:
        """Prepare the scores; the arguments are those of ``scores``, with ``sums`` those of the weight if at hand."""
        self._weight = weight.detach()
        self._sums = sums or weight_sums(weight)
        squared = squared_norms.to(device=weight.device, dtype=self._sums.columns.dtype).reshape(1, -1)
        self._unusable_columns = ~torch.isfinite(squared)
        self._all_usable = self._sums.all_finite and not bool(self._unusable_columns.any())
        squared = torch.where(self._unusable_columns, 0, squared)
        score = _power_scores if isinstance(metric, PowerMetric) else _meta_scores
        self._score = score(metric, squared, self._sums)  # type: ignore[arg-type]

    def rows(self, rows: slice) -> Tensor:
        """Scores of some rows, [rows, in]; see ``scores``."""
        magnitudes = _magnitudes(self._weight[rows])
        unusable = None
        if not self._all_usable:
            unusable = ~torch.isfinite(magnitudes) | self._unusable_columns
            magnitudes = torch.where(torch.isfinite(magnitudes), magnitudes, 0)
        result = self._score(magnitudes, self._sums.rows[rows])
        # On a GPU, asking whether that is needed takes longer than doing it.
        if result.device.type != "cpu" or not torch.isfinite(result.sum()):
            result.nan_to_num_(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
        return result if unusable is None else result.masked_fill_(unusable, -torch.inf)


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
    return LayerScores(metric, weight, squared_norms).rows(slice(None))


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


def _magnitudes(weight: Tensor) -> Tensor:
    """|W| in float32 (float64 where the weight is), which may be overwritten."""
    # The weight may be the transpose of a parameter. In another order of memory, sums would have other last digits.
    detached = weight.detach().contiguous()
    if detached.dtype in (torch.float32, torch.float64):
        return detached.abs()
    return detached.float().abs_()


# From magnitudes [rows, in], which it uses up, since passes over the weights are what costs, and their sums [rows, 1].
_Score = Callable[[Tensor, Tensor], Tensor]


def _meta_scores(metric: MetaMetric, squared: Tensor, sums: WeightSums) -> _Score:
    metric = _REPRESENTATIVES[canonical_key(metric)]
    activation = COEFFICIENTS[metric.activation_coefficient](squared) * OPERATIONS[metric.activation_operation](
        squared.sqrt()
    )
    operation = OPERATIONS[metric.weight_operation]
    if metric.weight_coefficient == "relative_sum":
        return lambda magnitudes, of_rows: operation(magnitudes).mul_(activation).div_(of_rows + sums.columns)
    columns = activation / sums.columns if metric.weight_coefficient == "column_sum" else activation
    return lambda magnitudes, of_rows: operation(magnitudes).mul_(columns)


def _power_scores(metric: PowerMetric, squared: Tensor, sums: WeightSums) -> _Score:
    columns = squared.pow(metric.activation_exponent / 2)
    if not metric.sums_exponent or not metric.column_share:
        return lambda magnitudes, of_rows: magnitudes.mul_(columns)
    by_column = metric.column_share / sums.columns
    if metric.column_share == 1:
        scaled = columns * by_column.pow(metric.sums_exponent)
        return lambda magnitudes, of_rows: magnitudes.mul_(scaled)

    def score(magnitudes: Tensor, of_rows: Tensor) -> Tensor:
        both = by_column + (1 - metric.column_share) / of_rows
        if metric.sums_exponent != 1:
            both.pow_(metric.sums_exponent)
        return magnitudes.mul_(columns).mul_(both)

    return score
