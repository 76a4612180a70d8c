from optishear.evaluation.sweep import sweep_table
from optishear.pattern import parse_pattern


def test_the_table_holds_each_sparsitys_comparison() -> None:
    metrics = {"dense": {"perplexity": 20.0}, "pruned": {"perplexity": 30.0, "sparsity": 0.5}}
    table = sweep_table({parse_pattern("0.6"): metrics, parse_pattern("2:4"): metrics})
    assert table.column_names[:5] == ["sparsity", "target", "model", "measure", "value"]
    assert [tuple(row.values())[:5] for row in table.to_pylist()] == [
        ("0.6", 0.6, "dense", "perplexity", 20.0),
        ("0.6", 0.6, "pruned", "perplexity", 30.0),
        ("0.6", 0.6, "pruned", "sparsity", 0.5),
        ("2:4", 0.5, "dense", "perplexity", 20.0),
        ("2:4", 0.5, "pruned", "perplexity", 30.0),
        ("2:4", 0.5, "pruned", "sparsity", 0.5),
    ]
