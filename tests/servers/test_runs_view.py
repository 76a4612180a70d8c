"""The list of runs in MLflow opens with the columns that compare them: a tracking server and a browser alone."""

import pytest
from playwright.sync_api import Locator, Page, expect

from flows.shared.summary import runs_page
from servers.processes import MlflowServer
from tasks.tracking.experiment import Tracking, connect
from tasks.tracking.parameters import TrackingParameters

pytestmark = pytest.mark.servers

# Wide enough for all columns: the table has only those that can be seen.
_WINDOW = {"width": 2400, "height": 1000}


@pytest.fixture(scope="module")
def tracking(mlflow_server: MlflowServer) -> Tracking:
    """An experiment with one run that was scored."""
    tracking = connect(TrackingParameters(tracking_uri=mlflow_server.url, experiment="viewed"))
    run = tracking.client.create_run(tracking.experiment_id, run_name="pipeline tiny 0.5")
    for tag, value in {"model": "tiny", "sparsity": "0.5", "promoted": "yes", "precision": "float32"}.items():
        tracking.client.set_tag(run.info.run_id, tag, value)
    for metric, value in {
        "pruned/ratio_to_dense": 1.25,
        "wanda/ratio_to_dense": 1.5,
        "sparsegpt/ratio_to_dense": 1.75,
        "seconds": 7.0,
    }.items():
        tracking.client.log_metric(run.info.run_id, metric, value)
    tracking.client.set_terminated(run.info.run_id)
    return tracking


def head(page: Page, column: str) -> Locator:
    """The head of a column of the table."""
    return page.locator(f'[role=columnheader][col-id="{column}"]')


def shows_the_columns(page: Page) -> None:
    """Those of the view, and no others."""
    for name in ("pruned", "wanda", "sparsegpt"):
        expect(head(page, f"metrics.`{name}/ratio_to_dense`")).to_be_visible()
    for name in ("model", "sparsity", "promoted"):
        expect(head(page, f"tags.`{name}`")).to_be_visible()
    for column in ("metrics.`seconds`", "tags.`precision`", "attributes.`Source`"):
        expect(head(page, column)).to_have_count(0)


def test_the_link_opens_the_list_with_its_columns(page: Page, tracking: Tracking) -> None:
    address = runs_page(tracking)
    assert address is not None
    page.set_viewport_size(_WINDOW)
    page.goto(address)
    shows_the_columns(page)
    expect(page.locator("body")).to_contain_text("1.25")


def test_the_description_and_the_menu_of_views_lead_there(page: Page, tracking: Tracking) -> None:
    page.set_viewport_size(_WINDOW)
    page.goto(f"{tracking.uri}/#/experiments/{tracking.experiment_id}/runs?workflowType=machine_learning")
    link = page.get_by_role("link", name="with the columns to compare them")
    expect(link).to_be_visible()
    assert str(link.get_attribute("href")).endswith(str(runs_page(tracking)).partition("#")[2])
    expect(head(page, "attributes.`Source`")).to_be_visible()
    expect(head(page, "metrics.`pruned/ratio_to_dense`")).to_have_count(0)
    page.get_by_role("button", name="views").click()
    page.get_by_role("menuitem", name="OptiShear").click()
    shows_the_columns(page)
