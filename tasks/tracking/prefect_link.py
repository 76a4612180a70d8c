"""The page of a run in Prefect's web interface, for links from MLflow and from reports."""

import os

from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

PREFECT_TAG = "prefect_run"


def prefect_address() -> str:
    """The address of the web interface for users: ``PREFECT_UI_URL``, else the server's; empty without a server."""
    return (os.environ.get("PREFECT_UI_URL") or str(PREFECT_API_URL.value() or "").removesuffix("/api")).rstrip("/")


def prefect_page(run: str) -> str | None:
    """The address of a flow run's page; ``None`` without a server."""
    address = prefect_address()
    return f"{address}/runs/flow-run/{run}" if address else None


def prefect_tags() -> dict[str, str]:
    """The tag that leads from an MLflow run to the current flow run: its page, or without a server its id.

    Empty outside of a flow run.
    """
    run = flow_run.id
    return {PREFECT_TAG: prefect_page(str(run)) or str(run)} if run else {}
