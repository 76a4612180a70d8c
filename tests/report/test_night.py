"""The page of a night: failures first, a row for each run, and the change since the last night."""

import pytest

from optishear.report.night import (
    ALL_RUNS,
    NightRow,
    NightScores,
    change_since,
    night_markdown,
    night_page,
    night_sentence,
)

from .test_html import HOSTILE

BETTER = NightRow(
    "SmolLM2-135M · 50 %",
    NightScores(22.88, 47.81, 44.1),
    NightScores(22.88, 47.81, 49.0),
    champion=True,
    reason="Promoted: perplexity 44.1.",
    seconds=754.0,
    pages={"Prefect": "http://127.0.0.1:4200/runs/flow-run/1", "report": "/night/report.html"},
)
FAILED = NightRow("gone · 2:4", failure="There is no model 'gone'.", seconds=3.0)


def test_wording_of_the_sentence() -> None:
    assert night_sentence([BETTER, FAILED]) == "1 of 2 runs completed, 1 failed, 1 champion."
    assert night_sentence([BETTER, BETTER]) == "2 of 2 runs completed, 2 champions."


def test_failures_come_before_the_runs_in_markdown_and_html() -> None:
    for page in (night_markdown("nightly", [BETTER, FAILED]), night_page("nightly", [BETTER, FAILED])):
        assert page.index("There is no model") < page.index("44.1")
        assert page.index("44.1") < page.index("Promoted")


def test_the_row_of_a_run_holds_its_scores_change_and_links() -> None:
    (line,) = [line for line in night_markdown("nightly", [BETTER]).splitlines() if line.startswith("| Smol")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:7] == ["SmolLM2-135M · 50 %", "22.9", "47.8", "–", "44.1", "−10.0 %", "yes"]
    assert cells[-1] == "[Prefect](http://127.0.0.1:4200/runs/flow-run/1) `/night/report.html`"
    page = night_page("nightly", [BETTER])
    assert '<a href="http://127.0.0.1:4200/runs/flow-run/1">Prefect</a>' in page
    assert "<code>/night/report.html</code>" in page


def test_the_list_of_all_runs_is_linked_where_there_is_one() -> None:
    address = "http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=optishear&workflowType=machine_learning"
    assert f"[{ALL_RUNS}]({address})" in night_markdown("nightly", [BETTER], address)
    escaped = address.replace("&", "&amp;")
    assert f'<a href="{escaped}">{ALL_RUNS}</a>' in night_page("nightly", [BETTER], address)
    assert ALL_RUNS not in night_markdown("nightly", [BETTER]) + night_page("nightly", [BETTER])


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (None, "first night"),
        (NightScores(22.88, 47.0, 44.1), "unchanged"),
        (NightScores(22.88, 47.0, 42.0), "+5.0 %"),
        (NightScores(30.0, 47.0, 42.0), "evaluated otherwise"),
        (NightScores(22.88, 47.0, None), "not compared"),
    ],
)
def test_the_change_compares_only_what_was_evaluated_alike(before: NightScores | None, change: str) -> None:
    assert change_since(NightRow("run", NightScores(22.88, 47.0, 44.1), before)) == change


def test_names_and_reasons_are_shown_as_they_are() -> None:
    row = NightRow(HOSTILE, failure=f"a | b {HOSTILE}\nsecond line")
    assert HOSTILE not in night_page("nightly", [row])
    assert HOSTILE not in night_markdown("nightly", [row])
    (line,) = [line for line in night_markdown("nightly", [row]).splitlines() if "second line" in line]
    assert "a \\| b" in line
