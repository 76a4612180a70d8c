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
    """The text of a page after its scripts have run."""
    shown = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--virtual-time-budget=20000", "--window-size=1400,2000", f"--user-data-dir={folder}", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    without_scripts = re.sub(r"<(script|style)\b.*?</\1>", " ", shown.stdout, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without_scripts)).split())


def test_prefect_shows_the_run_and_its_stages(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    shown = page(browser, f"{servers.prefect_url}/runs/flow-run/{mended.run}", tmp_path)
    print(shown[:3000])
    assert servers.flow_run(mended.run)["name"] in shown
    assert "Completed" in shown
    assert "pipeline" in shown


def test_prefect_shows_what_a_run_made(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    shown = page(browser, f"{servers.prefect_url}/runs/flow-run/{mended.run}?tab=Artifacts", tmp_path)
    print(shown[:3000])
    for name in ("comparison", "layer-ratios", "pareto-front", "mlflow-run"):
        assert name in shown.lower()


def test_prefect_shows_why_a_stage_failed(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    failed = next(run for run in servers.children(mended.run) if run["state_type"] == "FAILED")
    shown = page(browser, f"{servers.prefect_url}/runs/flow-run/{failed['id']}?tab=Details", tmp_path)
    print(shown[:3000])
    assert "Failed" in shown
    assert "The evaluation text has only" in shown


def test_prefect_shows_the_schedule(browser: str, servers: Servers, lost: Lost, tmp_path: Path) -> None:
    shown = page(browser, f"{servers.prefect_url}/deployments", tmp_path)
    print(shown[:3000])
    for name in ("nightly", "pipeline", "statistics", "search", "prune", "evaluate"):
        assert name in shown
    assert "02:00 AM" in shown


def test_mlflow_shows_the_run(browser: str, servers: Servers, mended: Mended, tmp_path: Path) -> None:
    link = servers.artifacts(mended.run)["mlflow-run"]
    url = re.search(r"http[^)\s\"]*", link)
    assert url is not None
    shown = page(browser, url[0], tmp_path)
    print(shown[:3000])
    assert "pipeline tiny-llama 0.5" in shown
    assert "pruned/perplexity" in shown
