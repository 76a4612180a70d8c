"""One key for all meta metrics that order every row alike.

A mask depends only on the order of the scores inside each row. So of S = c_W u_W(|W|) c_X u_X(x):

* a factor that is constant in a row changes nothing: c_W in {none, row sum, sum, mean, Frobenius} are one, and
  c_X in {none, row sum, sum, mean, Frobenius} are one (x^2 is a single row, so its row sum is a number);
* the column sum of the single row x^2 is x^2 itself, so c_X = column sum is the power x^-2;
* softmax is exp divided by a row constant;
* where everything that is left is a power, |W|^p x^q has the order of |W| x^(q/p);
* where nothing of x is left, any increasing u_W orders as |W| does.
"""

from itertools import product
from typing import get_args

from optishear.metrics.metric import MetaMetric, PowerMetric
from optishear.metrics.operations import Coefficient, Operation

POWERS: dict[Operation, float] = {"identity": 1.0, "sqrt": 0.5, "square": 2.0}
MetricKey = tuple[str | float, ...]


def canonical_key(metric: MetaMetric) -> MetricKey:
    """The key of a meta metric; equal keys give identical masks on every weight and every activation."""
    weight_coefficient = metric.weight_coefficient
    if weight_coefficient not in ("column_sum", "relative_sum"):
        weight_coefficient = "none"
    weight_operation = "exp" if metric.weight_operation == "softmax" else metric.weight_operation
    activation: tuple[str | float, ...] = _activation_key(metric.activation_coefficient, metric.activation_operation)
    if weight_coefficient == "none":
        if activation == ("power", 0.0):
            return ("magnitude",)
        if activation[0] == "power" and weight_operation in POWERS:
            return ("power", float(activation[1]) / POWERS[weight_operation])
    return (weight_coefficient, weight_operation, *activation)


def _activation_key(coefficient: Coefficient, operation: Operation) -> tuple[str | float, ...]:
    if operation == "softmax":
        operation = "exp"
    if coefficient == "relative_sum":
        return ("relative_sum", operation)
    exponent = -2.0 if coefficient == "column_sum" else 0.0
    if operation in POWERS:
        return ("power", POWERS[operation] + exponent)
    return ("column_sum" if exponent else "none", operation)


def all_meta_metrics() -> list[MetaMetric]:
    """All 7 x 7 x 7 x 7 = 2,401 metrics of the meta space, in a fixed order."""
    return [
        MetaMetric(
            weight_coefficient=weight_coefficient,
            weight_operation=weight_operation,
            activation_coefficient=activation_coefficient,
            activation_operation=activation_operation,
        )
        for weight_coefficient, weight_operation, activation_coefficient, activation_operation in product(
            get_args(Coefficient), get_args(Operation), get_args(Coefficient), get_args(Operation)
        )
    ]


def distinct_meta_metrics() -> dict[MetricKey, MetaMetric]:
    """One metric of each class, the first in the order of ``all_meta_metrics``."""
    distinct: dict[MetricKey, MetaMetric] = {}
    for metric in all_meta_metrics():
        distinct.setdefault(canonical_key(metric), metric)
    return distinct


def metric_key(metric: MetaMetric | PowerMetric) -> MetricKey:
    """A key that is equal for metrics with equal masks, also of different spaces."""
    if isinstance(metric, MetaMetric):
        return canonical_key(metric)
    # Without the sums, or with those of the rows alone, which are constant in a row, |W| x^a is left.
    if not metric.sums_exponent or not metric.column_share:
        return ("power", metric.activation_exponent) if metric.activation_exponent else ("magnitude",)
    return ("exponents", metric.activation_exponent, metric.sums_exponent, metric.column_share)
