"""Comparisons at several sparsities → one table."""

from collections.abc import Mapping

import pyarrow as pa

from optishear.pattern import Pattern
from optishear.run_metrics.comparison import comparison_table
from optishear.run_metrics.schema import RunMetrics


def sweep_table(sparsities: Mapping[Pattern, RunMetrics]) -> pa.Table:
    """The rows of each sparsity's ``comparison_table``.

    Args:
        sparsities: the metrics by sparsity.

    Returns:
        ``sparsity`` (a fraction or N:M) and ``target`` (its fraction, float64), then the columns of the comparison.
    """
    tables = []
    for sparsity, metrics in sparsities.items():
        table = comparison_table(metrics)
        for name, value in (("target", sparsity.fraction), ("sparsity", str(sparsity))):
            table = table.add_column(0, name, pa.array([value] * table.num_rows, type=pa.scalar(value).type))
        tables.append(table)
    return pa.concat_tables(tables)
