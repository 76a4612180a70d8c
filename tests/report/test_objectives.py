import pyarrow as pa

from optishear.report.objectives import comparable, finite_rows, objective_columns, objective_label, varying

from .samples import make_trials


def test_main_divergences_come_first_and_the_sparsity_distance_last() -> None:
    trials = make_trials(("sparsity_distance", "kl/math", "frobenius", "kl"))
    assert objective_columns(trials) == ["kl", "frobenius", "kl/math", "sparsity_distance"]


def test_only_the_rows_evaluated_on_most_sequences_compare() -> None:
    rows = comparable(make_trials())
    assert set(rows["sequences"].to_pylist()) == {4}
    assert set(rows["stage"].to_pylist()) == {"reference", "metric", "ratios", "final"}
    assert comparable(pa.table({})).num_rows == 0


def test_a_constant_objective_does_not_vary() -> None:
    trials = pa.table({"kl": [1.0, 2.0, None], "sparsity_distance": [0.0, 0.0, float("nan")]})
    assert varying(trials, ["kl", "sparsity_distance"]) == ["kl"]


def test_finite_rows_are_in_the_order_of_the_trials() -> None:
    trials = pa.table({"trial": [3, 1, 2], "kl": [1.0, 2.0, float("inf")]})
    assert [row["trial"] for row in finite_rows(trials, ["kl"])] == [1, 3]


def test_wording_of_labels_with_the_calibration_set() -> None:
    assert objective_label("kl/math") == "KL divergence from the dense model, on math"
