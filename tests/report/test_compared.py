"""The page of a comparison: words that fit the numbers, rows at marks of the budget."""

import pyarrow as pa
from matplotlib.text import Text

from optishear.report.algorithms import algorithms
from optishear.report.compared import compared_markdown, compared_page, compared_rows, compared_words
from optishear.report.style import DARK, LIGHT
from optishear.searching.comparison import compare_searches
from optishear.units import parse_duration
from wording import numbers_in

BUDGET = parse_duration("10m")


def make_compared(ends: dict[str, list[float]], trials: int = 8) -> pa.Table:
    """Searches that fall evenly from 1 to their end."""
    return pa.Table.from_pylist(
        [
            {
                "algorithm": name,
                "seed": seed,
                "trial": trial,
                "best": 1 + (end - 1) * trial / trials,
                "carried": False,
            }
            for name, values in ends.items()
            for seed, end in enumerate(values)
            for trial in range(1, trials + 1)
        ]
    )


def test_wording_of_the_best_and_the_others_values() -> None:
    apart = make_compared({"random": [0.7, 0.8, 0.9], "nsga3": [0.5, 0.6, 0.55]})
    sentence, remark = compared_words(apart, "kl")
    assert sentence == (
        "After 8 trials nsga3 has the lowest KL divergence from the dense model: 0.550, against 0.800 with random."
    )
    assert remark == "Its worst seed of 3 is better than the best of every other."


def test_unequal_lengths_and_the_budget_are_said() -> None:
    long, short = (search([0.9 - step / 10 for step in range(length)]) for length in (8, 3))
    compared = compare_searches({("random", 0): long, ("nsga3", 0): short}, "kl")
    assert compared_words(compared, "kl")[0].startswith("After 3 to 8 trials, random has")
    with_budget, one = (
        compared_words(each, "kl", BUDGET)[0] for each in (compared, compare_searches({("random", 0): long}, "kl"))
    )
    assert "10m" in with_budget
    assert "3 to 8 trials, random has" in with_budget
    assert " 8 trials, random has" in one
    _, _, nsga3 = compared_rows(compared)
    assert nsga3 == ("nsga3", "0.800", "0.700", "0.700", "0.700 to 0.700")
    page = compared_page(compared, "kl", "model", BUDGET, "optishear compare --budget 10m")
    assert "With a budget of 10m" in page
    assert "ended earlier" in page


def search(values: list[float]) -> pa.Table:
    """The trials of a search, after Wanda."""
    names = ["wanda", *("" for _ in values)]
    return pa.table({"name": names, "sequences": [4] * len(names), "kl": [1.0, *values]})


def test_overlap_and_a_single_seed_are_said() -> None:
    overlapping = make_compared({"random": [0.58, 0.9], "nsga3": [0.5, 0.6], "tpe": [0.8, 0.9]})
    remark = compared_words(overlapping, "kl")[1]
    assert numbers_in(remark) == [2]
    assert remark.endswith("overlap with those of random.")
    assert "one seed only" in compared_words(make_compared({"a": [0.5], "b": [0.6]}), "kl")[1]
    assert len(compared_words(make_compared({"a": [0.5, 0.6]}), "kl")) == 1


def test_rows_are_medians_at_a_quarter_half_and_all_of_the_trials() -> None:
    header, first, second = compared_rows(make_compared({"random": [0.6, 0.8, 0.7], "nsga3": [0.2, 0.4, 0.6]}))
    assert header == ("algorithm", "after 2", "after 4", "after 8", "range over the seeds")
    assert first == ("nsga3", "0.850", "0.700", "0.400", "0.200 to 0.600")
    assert second[0] == "random"
    table = compared_markdown(make_compared({"nsga3": [0.2, 0.4, 0.6]}))
    assert "| nsga3 | 0.850 | 0.700 | 0.400 | 0.200 to 0.600 |" in table


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = compared_page(
        make_compared({"random": [0.7, 0.8], "nsga3": [0.5, 0.6]}), "kl", "<b>", None, "optishear compare --model <b>"
    )
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "://" not in text
    assert text.index("After 8 trials") < text.index("range over the seeds") < text.index("<svg")
    assert "optishear compare" in text[text.index("</svg>") :]


def test_every_algorithm_has_a_colour_of_its_own_in_both_themes() -> None:
    names = ["nsga3", "nsga2", "random", "qmc", "tpe", "exhaustive", "evopress"]
    compared = make_compared({name: [0.5 + index / 20] for index, name in enumerate(names)})
    for theme in (LIGHT, DARK):
        lines = algorithms(compared, "kl", theme).axes[0].lines
        assert len({line.get_color() for line in lines}) == 7
        assert {line.get_label() for line in lines} == set(names)


def test_names_at_the_right_are_inside_the_figure() -> None:
    figure = algorithms(make_compared({"exhaustive": [0.5], "evopress": [0.51]}), "kl")
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 2
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
