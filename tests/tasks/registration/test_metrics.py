"""The numbers of a run under the names that MLflow shows."""

import math

from optishear.run_metrics.schema import EvaluationMetrics, SweepMetrics
from run_metrics.samples import beside_sparsegpt, changed, make_metrics
from tasks.registration.metrics import flat_metrics, measured_of, readable


def test_metrics_have_flat_names() -> None:
    diagnosis = {
        "alignment_distance": {"wanda": 2.0, "pruned": 1.0},
        "alignment_shrank_by": 0.5,
        "alignment_shrank_by_kind": {"mlp_in": None},
        "activation_share": {},
        "layer_error": {},
        "last_block_error": {},
    }
    metrics = changed(
        make_metrics(wanda=math.inf, tasks=False),
        {
            "stages": {"search": {"seconds": 9.0, "peak_memory_bytes": 10, "cached": False}},
            "pruned.tasks": {"boolq": {"acc": {"value": 0.6, "stderr": 0.1}}, "rte": {"error": "KeyError"}},
            "pruned.footprint": {},
            "dense.footprint": {},
            "search.wanda_objectives": {},
            "diagnosis": diagnosis,
        },
    )
    assert flat_metrics(metrics) == {
        "achieved_sparsity": 0.5001,
        "sparsity_of_all_matrices": 0.5001,
        "prunable_share": 1.0,
        "dense/perplexity": 22.88,
        "dense/sparsity": 0.0,
        "dense/sparsity_of_all_matrices": 0.0,
        "wanda/sparsity": 0.5,
        "wanda/sparsity_of_all_matrices": 0.5,
        "pruned/perplexity": 44.1,
        "pruned/ratio_to_dense": 44.1 / 22.88,
        "pruned/sparsity": 0.5001,
        "pruned/sparsity_of_all_matrices": 0.5001,
        "pruned/boolq/acc": 0.6,
        "seconds/search": 9.0,
        "peak_memory_bytes/search": 10,
        "search/objectives/kl": 0.704,
        "search/objectives/sparsity_distance": 0.0,
        "search/ratio_priors/linear_0.1": 0.75,
        "search/ratio_priors/dlp": 0.9,
        "diagnosis/alignment_distance/wanda": 2.0,
        "diagnosis/alignment_distance/pruned": 1.0,
        "diagnosis/alignment_shrank_by/pruned": 0.5,
    }


def test_sparsegpt_and_the_times_have_flat_names() -> None:
    flat = flat_metrics(beside_sparsegpt(tasks=False))
    assert flat["sparsegpt/perplexity"] == 40.4
    assert flat["sparsegpt/ratio_to_dense"] == 40.4 / 22.88
    times = {name: value for name, value in flat.items() if name.endswith("/making_seconds")}
    assert times == {"wanda/making_seconds": 10.2, "sparsegpt/making_seconds": 47.5, "pruned/making_seconds": 9433.1}


def test_wanda_has_no_reconstructed_value_where_it_is_no_finalist() -> None:
    row = {"trial": 3, "kl": 0.9, "reconstructed_kl": None}
    assert measured_of(row, ["kl", "reconstructed_kl", "dense_share"]) == {"kl": 0.9}


def test_a_sweep_puts_the_sparsity_before_each_name() -> None:
    metrics = make_metrics()
    sweep = SweepMetrics(model="m", parameters={}, sparsities={"2:4": metrics}, failures={})
    assert flat_metrics(sweep) == {f"2:4/{name}": value for name, value in flat_metrics(metrics).items()}


def test_an_evaluation_alone_has_flat_names() -> None:
    metrics = make_metrics(tasks=False)
    evaluation = EvaluationMetrics(
        model="m", parameters={}, precision=metrics.precision, evaluation=metrics.dense, stages={}
    )
    assert flat_metrics(evaluation)["evaluation/perplexity"] == 22.88
    assert flat_metrics(evaluation)["evaluation/dense/disk_bytes"] == 269_000_000


def test_wording_of_the_scores_of_one_model() -> None:
    model = changed(make_metrics(), {"dense.tasks.rte": {"error": "KeyError"}}).dense
    assert readable(model).splitlines() == [
        "perplexity on python-docs: 22.88",
        "local_boolq acc: 0.6120 ± 0.0110",
        "local_arc_easy acc: 0.5020 ± 0.0102",
        "local_arc_easy acc_norm: 0.4820",
        "rte failed: KeyError",
        "dense: 269.0 MB on disk, 270.0 MB in memory, 20.0 tokens/s",
    ]
