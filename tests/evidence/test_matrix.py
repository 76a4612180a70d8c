import math

import pytest

from optishear.evidence.matrix import Matrix, Scores, geometric_mean, matrix_table

MATRIX = Matrix(("a", "b"), ("x", "y"), {("a", "x"): 2.0, ("b", "x"): 3.0, ("b", "y"): math.inf}, {("a", "y"): "lost"})


def test_values_are_multiples_of_their_columns_reference() -> None:
    relative = MATRIX.relative(lambda column: MATRIX.of("a", column))
    assert relative.values == {("a", "x"): 1.0, ("b", "x"): 1.5}
    assert relative.failures == {("a", "y"): "lost", ("b", "y"): "its column's reference is missing"}
    assert MATRIX.relative(lambda _: 2.0, ("b",)).values == {("b", "x"): 1.5, ("b", "y"): math.inf}
    assert math.isnan(MATRIX.relative(lambda _: math.inf).values["a", "x"])


def test_the_table_has_a_row_for_each_cell() -> None:
    relative = MATRIX.relative(lambda _: 2.0, ("a",))
    rows = matrix_table(
        ("from", "to"),
        "value",
        MATRIX,
        {"half": relative},
        Scores({"more": {("b", "y"): 7.0}}, {("b", "x"): "no data"}),
    ).to_pylist()
    assert rows == [
        {"from": "a", "to": "x", "value": 2.0, "half": 1.0, "more": None, "failure": None},
        {"from": "a", "to": "y", "value": None, "half": None, "more": None, "failure": "lost"},
        {"from": "b", "to": "x", "value": 3.0, "half": None, "more": None, "failure": "no data"},
        {"from": "b", "to": "y", "value": math.inf, "half": None, "more": 7.0, "failure": None},
    ]


def test_ratios_have_a_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1)
    assert geometric_mean([]) is None
    assert geometric_mean([1.0, math.inf]) == math.inf
    assert math.isnan(geometric_mean([math.nan, math.inf]) or 0)
