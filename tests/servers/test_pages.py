"""What a person sees and does in the browser, in both user interfaces."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from servers.conftest import Lost, Mended, Servers, lengthen, start_with_short_text

pytestmark = pytest.mark.servers


def shows(page: Page, *words: str) -> None:
    """Wait until all of it can be read on the page."""
    for each in words:
        expect(page.locator("body")).to_contain_text(each, use_inner_text=True)


def mlflow_page(servers: Servers, run: str) -> str:
    """The address of a run's page in MLflow, as its page in Prefect links it."""
    url = re.search(r"http[^)\s\"]*", servers.artifacts(run)["mlflow-run"]["data"])
    assert url is not None
    return url[0]


def test_prefect_shows_the_run(page: Page, servers: Servers, mended: Mended) -> None:
    page.goto(f"{servers.prefect_url}/runs/flow-run/{mended.run}")
    shows(page, servers.flow_run(mended.run)["name"], "Completed")
    shows(page, "Flow\npipeline", "Work Pool\ncpu")


def test_prefect_shows_the_comparison(page: Page, servers: Servers, mended: Mended) -> None:
    page.goto(f"{servers.prefect_url}/artifacts/artifact/{servers.artifacts(mended.run)['comparison-table']['id']}")
    table = page.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["", "dense", "Wanda", "pruned", "pruned against Wanda"])
    expect(table).to_contain_text("perplexity")


def test_prefect_shows_the_front_as_an_image(page: Page, servers: Servers, mended: Mended) -> None:
    figure = servers.artifacts(mended.run)["pareto-front"]
    page.goto(f"{servers.prefect_url}/artifacts/artifact/{figure['id']}")
    image = page.locator(f'img[src="{figure["data"]}"]')
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 100


def test_prefect_shows_why_a_stage_failed(page: Page, servers: Servers, mended: Mended) -> None:
    failed = next(run for run in servers.children(mended.run) if run["state_type"] == "FAILED")
    page.goto(f"{servers.prefect_url}/runs/flow-run/{failed['id']}?tab=Details")
    shows(page, "Failed", "The evaluation text has")
    # As much of the sentence as fits in, until one asks for the rest.
    page.get_by_text("See More").click()
    shows(page, failed["state"]["message"])
    assert "InputError" not in page.inner_text("body")


def test_the_retry_button_takes_a_failed_run_to_its_end(
    page: Page, servers: Servers, settings: dict[str, Any], mended: Mended
) -> None:
    # All before the evaluation is in the store, from the run ``mended``.
    run, text = start_with_short_text(servers, settings, "retried")
    assert servers.ended(run)["state_type"] == "FAILED"
    lengthen(text, settings)
    page.goto(f"{servers.prefect_url}/runs/flow-run/{run}")
    page.get_by_role("button", name="Retry").click()
    with page.expect_response(re.compile(f"{run}/set_state$")):
        page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    ended = servers.ended(run)
    assert (ended["state_type"], ended["run_count"]) == ("COMPLETED", 2)
    # The open page follows it.
    shows(page, "Completed")
    assert (servers.folder / "retried" / "report.html").exists()


def test_prefect_shows_the_schedule(page: Page, servers: Servers, lost: Lost) -> None:
    page.goto(f"{servers.prefect_url}/deployments")
    shows(page, "calibrate", "evaluate")  # the list goes on on other pages
    nightly = servers.api("GET", "deployments/name/nightly/nightly")
    page.goto(f"{servers.prefect_url}/deployments/deployment/{nightly['id']}")
    shows(page, "nightly", "auto-scheduled", "02:00:00 AM")


def test_mlflow_shows_the_run(page: Page, servers: Servers, mended: Mended) -> None:
    page.goto(mlflow_page(servers, mended.run))
    shows(page, "pipeline tiny-llama 0.5", "pruned/perplexity")
    # The link opened the view that has a list of runs, and its menu leads there.
    page.get_by_role("list").get_by_role("link", name="Runs", exact=True).click()
    shows(page, "Pruning runs of OptiShear", "pipeline tiny-llama 0.5")
