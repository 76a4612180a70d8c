"""The way from an MLflow run to its run in Prefect."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.tracking import prefect_link
from tasks.tracking.prefect_link import prefect_page, prefect_tags


class Run:
    """Stands for Prefect's current flow run."""

    def __init__(self, id: str | None) -> None:
        self.id = id


def test_the_page_is_on_the_server_or_where_users_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    with temporary_settings({PREFECT_API_URL: "http://prefect:4200/api"}):
        assert prefect_page("1") == "http://prefect:4200/runs/flow-run/1"
        monkeypatch.setenv("PREFECT_UI_URL", "http://127.0.0.1:8080/")
        assert prefect_page("1") == "http://127.0.0.1:8080/runs/flow-run/1"


def test_without_a_server_the_tag_is_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_UI_URL", raising=False)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        monkeypatch.setattr(prefect_link, "flow_run", Run("1"))
        assert prefect_tags() == {"prefect_run": "1"}
        monkeypatch.setattr(prefect_link, "flow_run", Run(None))
        assert prefect_tags() == {}
