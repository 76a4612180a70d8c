import math

import pytest

from optishear.pattern import parse_pattern
from optishear.report.sparsity_curve import perplexity_by_sparsity
from optishear.report.style import DARK, LIGHT, Theme
from optishear.report.sweep import SweepCell, sweep_markdown, sweep_rows, sweep_verdict
from optishear.report.sweep_page import sweep_page
from run_metrics.samples import beside_sparsegpt, make_metrics

from .test_html import HOSTILE, Page


def make_cells(**changes: SweepCell) -> list[SweepCell]:
    perplexities = {"0.5": (47.81, 44.1), "0.6": (131.9, 84.3), "0.7": (974.0, 275.0), "2:4": (169.9, 157.2)}
    cells = {
        parse_pattern(sparsity): SweepCell(parse_pattern(sparsity), make_metrics(22.88, wanda, pruned, tasks=False))
        for sparsity, (wanda, pruned) in perplexities.items()
    }
    return list({**cells, **{cell.sparsity: cell for cell in changes.values()}}.values())


FAILED = SweepCell(parse_pattern("2:4"), failure="out of memory")


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_each_model_has_a_line_over_the_fractions_and_hollow_points_for_patterns(theme: Theme) -> None:
    (axes,) = perplexity_by_sparsity(make_cells(), theme).axes
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines["searched"].get_xdata()) == [0.5, 0.6, 0.7]
    assert list(lines["searched"].get_ydata()) == [44.1, 84.3, 275.0]
    assert list(lines["Wanda"].get_ydata()) == [47.81, 131.9, 974.0]
    assert (lines["searched, 2:4"].get_ydata()[0], lines["searched, 2:4"].get_fillstyle()) == (157.2, "none")
    assert set(lines["dense"].get_ydata()) == {22.88}
    assert axes.get_yscale() == "log"
    assert {text.get_text() for text in axes.texts} == {"searched", "Wanda", "searched, 2:4", "Wanda, 2:4", "dense"}
    colours = {lines[name].get_color() for name in ("searched", "Wanda", "dense")}
    assert colours == {theme.searched, theme.reference, theme.muted}


def test_what_has_no_perplexity_is_left_out() -> None:
    broken = SweepCell(parse_pattern("0.7"), make_metrics(22.88, math.inf, None, tasks=False))
    (axes,) = perplexity_by_sparsity(make_cells(a=broken, b=FAILED)).axes
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines["Wanda"].get_xdata()) == [0.5, 0.6]
    assert "searched, 2:4" not in lines
    assert perplexity_by_sparsity([FAILED]).texts[0].get_text() == "No perplexity was measured."


def test_one_sparsity_alone_draws() -> None:
    (axes,) = perplexity_by_sparsity(make_cells()[:1]).axes
    assert len(axes.lines) == 3


@pytest.mark.parametrize(
    ("changes", "sentence", "outcome"),
    [
        ({}, "The searched recipe is better than Wanda at every sparsity.", "better"),
        ({"a": FAILED}, "The searched recipe is better than Wanda at 0.5, 0.6 and 0.7; 2:4 failed.", "better"),
        (
            {"a": SweepCell(parse_pattern("2:4"), make_metrics(22.88, 150.0, 170.0, tasks=False))},
            "The searched recipe is better than Wanda at 0.5, 0.6 and 0.7 and worse than Wanda at 2:4.",
            "unknown",
        ),
    ],
)
def test_the_verdict_sums_up(changes: dict[str, SweepCell], sentence: str, outcome: str) -> None:
    result = sweep_verdict(make_cells(**changes))
    assert (result.sentence, result.outcome) == (sentence, outcome)
    assert len(result.remarks) == 4
    assert result.remarks[0].startswith("50\N{NO-BREAK SPACE}% pruned: perplexity 44.1, against 47.8 with Wanda")


def test_nothing_evaluated_says_so() -> None:
    result = sweep_verdict([FAILED])
    assert result.sentence == "Nothing was evaluated."
    assert result.remarks == ("2:4 pruned (50\N{NO-BREAK SPACE}%): failed (out of memory).",)


def test_the_table_has_a_row_for_each_sparsity() -> None:
    assert [row.name for row in sweep_rows(make_cells())] == ["0.5", "0.6", "0.7", "2:4"]
    assert sweep_markdown(make_cells(a=FAILED)).splitlines()[2:] == [
        "| 0.5 | 22.9 | 47.8 | 44.1 | −7.8 % |",
        "| 0.6 | 22.9 | 132 | 84.3 | −36.1 % |",
        "| 0.7 | 22.9 | 974 | 275 | −71.8 % |",
        "| 2:4 | – | – | – | failed |",
    ]


def test_wording_of_the_column_of_sparsegpt_and_of_the_times() -> None:
    cells = [SweepCell(parse_pattern(sparsity), beside_sparsegpt(tasks=False)) for sparsity in ("0.5", "0.6")]
    assert sweep_markdown([*cells, FAILED]).replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "| sparsity | dense | Wanda | SparseGPT | searched | searched against Wanda |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| 0.5 | 22.9 | 47.8 | 40.4 | 44.1 | −7.8 % |",
        "| 0.5, time to make it | – | 10.2 s | 47.5 s | 2 h 37 min |  |",
        "| 0.6 | 22.9 | 47.8 | 40.4 | 44.1 | −7.8 % |",
        "| 0.6, time to make it | – | 10.2 s | 47.5 s | 2 h 37 min |  |",
        "| 2:4 | – | – | – | – | failed |",
    ]


def test_sparsegpt_has_a_line() -> None:
    cells = [SweepCell(parse_pattern(sparsity), beside_sparsegpt(tasks=False)) for sparsity in ("0.5", "0.6")]
    (axes,) = perplexity_by_sparsity(cells).axes
    lines = {str(line.get_label()): line for line in axes.lines}
    assert list(lines["SparseGPT"].get_ydata()) == [40.4, 40.4]
    assert lines["SparseGPT"].get_color() == LIGHT.green


def test_the_page_is_one_file_with_the_verdict_first() -> None:
    cells = make_cells(a=SweepCell(parse_pattern("2:4"), failure=HOSTILE))
    text = sweep_page(HOSTILE, cells, "optishear sweep --sparsities 0.5,2:4")
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(page.tags)
    assert "://" not in text
    assert page.tags.count("svg") == 1
    order = ["The searched recipe is", "searched against Wanda", "Perplexity against sparsity", "optishear sweep"]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert "--sparsities 0.5,2:4" in page.text
