import pytest

from optishear.evidence.crossed import DENSE, UNIVERSAL, WANDA, crossed_evidence
from optishear.evidence.matrix import Cell, Matrix
from optishear.report.matrix_table import markdown, value_rows
from wording import numbers_in

PLACES = ("a", "b", "c")
# Rows: found on a, b, c; one for all; Wanda.
VALUES = {
    "a": (8.0, 18.0, 40.0),
    "b": (10.0, 16.0, 20.0),
    "c": (12.0, 22.0, 32.0),
    UNIVERSAL: (9.0, 16.0, 36.0),
    WANDA: (10.0, 20.0, 40.0),
    DENSE: (5.0, 10.0, 15.0),
}


def matrix(failures: dict[Cell, str] | None = None) -> Matrix:
    values = {(row, column): value for row, each in VALUES.items() for column, value in zip(PLACES, each, strict=True)}
    left = {cell: value for cell, value in values.items() if cell not in (failures or {})}
    return Matrix(tuple(VALUES), PLACES, left, failures or {})


def test_wording_of_the_verdict_and_the_remarks() -> None:
    evidence = crossed_evidence("models", matrix(), PLACES, "model")
    # Off the diagonal: 0.9, 1, 1, 0.5, 1.2 and 1.1 times Wanda's; on it 0.8 each.
    assert evidence.verdict == (
        "A recipe found on another model gives 0.917 times Wanda's perplexity on average, its own recipe 0.800 times."
    )
    better, carried, universal = evidence.remarks
    assert better == "Of 6 pairs it is better than Wanda in 2, level (within 0.5 %) in 2 and worse in 2."
    # b's recipes are 1.25 and 0.625 times the others' own, c's 1.5 and 1.375, a's 1.125 and 1.25.
    assert carried.startswith("Recipes found on b carry over best (0.884 times")
    assert carried.endswith("those found on c least well (1.436 times).")
    assert universal == (
        "One recipe searched for all is 1.125 times the own recipe's perplexity at worst (a), 1.082 times on average, "
        "and 0.900 times Wanda's at worst."
    )


def test_the_table_and_the_maps_have_both_references() -> None:
    evidence = crossed_evidence("models", matrix(), PLACES, "model")
    rows = {(row["found_on"], row["applied_to"]): row for row in evidence.table.to_pylist()}
    assert rows["b", "c"]["to_wanda"] == 0.5
    assert rows["b", "c"]["to_own"] == 0.625
    assert rows[WANDA, "c"]["to_wanda"] is None
    assert rows[WANDA, "c"]["to_own"] == 1.25
    to_wanda, to_own = (each.matrix for each in evidence.maps)
    assert to_wanda.rows == ("a", "b", "c", UNIVERSAL)
    assert to_own.rows == ("a", "b", "c", UNIVERSAL, WANDA)
    assert rows[DENSE, "a"]["perplexity"] == 5
    assert rows[DENSE, "a"]["to_own"] is None


def test_lost_cells_leave_the_rest_and_are_told() -> None:
    lost = {("a", "b"): "out of memory", (WANDA, "c"): "out of memory"}
    evidence = crossed_evidence("models", matrix(lost), PLACES, "model")
    assert numbers_in(evidence.remarks[0]) == [3, 0, 0.5, 1, 2]
    assert numbers_in(evidence.remarks[-1]) == [2]
    assert "a × b: out of memory" in evidence.remarks[-1]
    assert value_rows(evidence.table)[1] == ["a", "8.00", "failed", "40.0"]
    assert "| a | 8.00 | failed | 40.0 |" in markdown(evidence)


def test_recipes_are_carried_from_complex_to_simple_texts_and_back() -> None:
    evidence = crossed_evidence("texts", matrix(), PLACES, "text", by_complexity=True)
    # c, b and a in turn. Down: 12/8, 22/16 and 10/8; up: 18/16, 40/32 and 20/32.
    assert numbers_in(evidence.remarks[3]) == [15, 10, 5, 1.371, 0.958]


def test_wording_of_the_remark_on_complexity() -> None:
    evidence = crossed_evidence("texts", matrix(), PLACES, "text", by_complexity=True)
    assert evidence.remarks[3] == (
        "From complex to simple, by the dense model's perplexity, the texts are c (15.0), b (10.0), a (5.0). Recipes "
        "of a more complex text give a simpler one 1.371 times the perplexity of its own on average, recipes of a "
        "simpler text a more complex one 0.958 times."
    )


def test_texts_without_a_dense_perplexity_have_no_place_in_the_order() -> None:
    evidence = crossed_evidence("texts", matrix({(DENSE, "b"): "lost"}), PLACES, "text", by_complexity=True)
    (told,) = [remark for remark in evidence.remarks if "From complex to simple" in remark]
    assert "are c (15.0), a (5.0)." in told
    assert "1.500 times" in told
    assert "1.250 times" in told
    lost = {(DENSE, "a"): "lost", (DENSE, "b"): "lost"}
    evidence = crossed_evidence("texts", matrix(lost), PLACES, "text", by_complexity=True)
    assert not any("From complex" in remark for remark in evidence.remarks)


def test_wording_where_everything_is_lost() -> None:
    lost = {(row, column): "no disk" for row in VALUES for column in PLACES}
    evidence = crossed_evidence("texts", matrix(lost), PLACES, "text")
    assert "an unknown multiple of Wanda's perplexity" in evidence.verdict
    assert evidence.remarks == ("18 cells are missing, the first a × a: no disk.",)


@pytest.mark.parametrize("name", ["a|b"])
def test_names_break_no_table(name: str) -> None:
    values = {(row, name): 1.0 for row in (name, WANDA)}
    evidence = crossed_evidence("texts", Matrix((name, WANDA), (name,), values, {}), (name,), "text")
    assert "a\\|b" in markdown(evidence)
