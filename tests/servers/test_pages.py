"""What a person sees in the browser, in both user interfaces."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from servers.conftest import Lost, Mended, Servers

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return found


def page(browser: str, url: str, folder: Path) -> str:
    """A page's elements after its scripts have run."""
    shown = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--virtual-time-budget=20000", "--window-size=1400,2000", f"--user-data-dir={folder}", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    return shown.stdout


def words(elements: str) -> str:
    """What can be read on a page."""
    without_scripts = re.sub(r"<(script|style)\b.*?</\1>", " ", elements, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without_scripts)).split())


def test_prefect_shows_the_run(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    shown = words(page(browser, f"{servers.prefect_url}/runs/flow-run/{mended.run}", tmp_path))
    for what in (servers.flow_run(mended.run)["name"], "Completed", "Flow pipeline", "Work Pool cpu", "Retry"):
        assert what in shown


def test_prefect_shows_the_comparison(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    table = servers.artifacts(mended.run)["comparison-table"]["id"]
    shown = words(page(browser, f"{servers.prefect_url}/artifacts/artifact/{table}", tmp_path))
    assert "dense Wanda pruned pruned against Wanda" in shown
    assert "perplexity" in shown


def test_prefect_shows_the_front_as_an_image(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    figure = servers.artifacts(mended.run)["pareto-front"]
    shown = page(browser, f"{servers.prefect_url}/artifacts/artifact/{figure['id']}", tmp_path)
    assert f'<img src="{figure["data"]}"' in shown


def test_prefect_shows_why_a_stage_failed(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    failed = next(run for run in servers.children(mended.run) if run["state_type"] == "FAILED")
    shown = words(page(browser, f"{servers.prefect_url}/runs/flow-run/{failed['id']}?tab=Details", tmp_path))
    assert "Failed" in shown
    # As much of the sentence as fits in.
    assert "The evaluation text has" in shown
    assert "InputError" not in shown


def test_prefect_shows_the_schedule(browser: str, servers: Servers, lost: Lost, tmp_path: Path) -> None:
    shown = words(page(browser, f"{servers.prefect_url}/deployments", tmp_path))
    for name in ("calibrate", "evaluate", "nightly"):  # the list goes on on another page
        assert name in shown
    assert "At 02:00 AM every day" in shown


def test_mlflow_shows_the_run(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    url = re.search(r"http[^)\s\"]*", servers.artifacts(mended.run)["mlflow-run"]["data"])
    assert url is not None
    shown = words(page(browser, url[0], tmp_path))
    assert "pipeline tiny-llama 0.5" in shown
    assert "pruned/perplexity" in shown
