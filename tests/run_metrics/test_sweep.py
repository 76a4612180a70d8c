from optishear.pattern import parse_pattern
from optishear.run_metrics.sweep import sweep_table

from .samples import make_metrics


def test_the_table_holds_each_sparsitys_comparison() -> None:
    metrics = make_metrics(20.0, 40.0, 30.0, tasks=False)
    table = sweep_table({parse_pattern("0.6"): metrics, parse_pattern("2:4"): metrics})
    assert table.column_names[:5] == ["sparsity", "target", "model", "measure", "value"]
    of_one = [
        ("dense", "perplexity", 20.0),
        ("dense", "sparsity", 0.0),
        ("wanda", "perplexity", 40.0),
        ("wanda", "sparsity", 0.5),
        ("pruned", "perplexity", 30.0),
        ("pruned", "sparsity", 0.5001),
    ]
    assert [tuple(row.values())[:5] for row in table.to_pylist()] == [
        *(("0.6", 0.6, *row) for row in of_one),
        *(("2:4", 0.5, *row) for row in of_one),
    ]
