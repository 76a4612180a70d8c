"""What a webhook is sent when a run failed, a champion is new, or a night has not begun: a Prefect server by itself."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Failed, Running, Scheduled

from flows.command_line.notifications import notify
from flows.shared.promotion_event import PROMOTED
from servers.processes import Process, answers, free_port, python, wait_until

pytestmark = pytest.mark.servers
SENTENCE = "The text 'notes.txt' is too short; give a longer one."


@dataclass
class Webhook:
    """A server on a free loopback port, and the bodies that it was sent."""

    received: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def subjects(self) -> list[str]:
        """The subjects of all calls so far."""
        return [body["subject"] for body in self.received]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncPrefectClient]:
    folder = tmp_path_factory.mktemp("notifications")
    url = f"http://127.0.0.1:{free_port()}"
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_HOME": str(folder)}
    server = Process(
        python("prefect", "server", "start", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]),
        folder / "prefect.log",
        {**os.environ, **quiet},
    )
    try:
        wait_until(lambda: answers(f"{url}/api/health"), f"Prefect ({folder / 'prefect.log'})", 600)
        with temporary_settings({PREFECT_API_URL: f"{url}/api"}), get_client(sync_client=True) as client:
            yield client
    finally:
        server.stop()


@pytest.fixture(scope="module")
def webhook(client: SyncPrefectClient) -> Iterator[Webhook]:
    webhook = Webhook()
    notify(webhook.url, timedelta(seconds=10))
    yield webhook
    webhook.server.shutdown()


def begin(client: SyncPrefectClient, flow: str, name: str, state: Any) -> Any:
    """A run of a flow, as a deployment's run is tagged."""
    flow_id = client.create_flow_from_name(flow)
    body = {"flow_id": str(flow_id), "name": name, "tags": ["optishear"], "state": state.model_dump(mode="json")}
    body["state"] = {"type": state.type.value, "state_details": body["state"]["state_details"]}
    return client.request("POST", "/flow_runs/", json=body).json()["id"]


def test_a_failed_run_is_called_for_once_with_its_sentence(client: SyncPrefectClient, webhook: Webhook) -> None:
    for flow in ("evaluate-stage", "pipeline"):
        run = begin(client, flow, f"{flow} · tiny-llama · 50 %", Running())
        client.set_flow_run_state(run, Failed(message=SENTENCE))
    wait_until(lambda: "pipeline · tiny-llama · 50 %: Failed" in webhook.subjects(), "the call for the failure", 300)
    (body,) = [body for body in webhook.received if body["subject"].startswith("pipeline")]
    assert body["body"].splitlines()[0] == SENTENCE
    assert f"/runs/flow-run/{run}" in body["body"].splitlines()[1]
    assert not [subject for subject in webhook.subjects() if subject.startswith("evaluate-stage")]


def test_a_new_champion_is_called_for_with_the_reason(client: SyncPrefectClient, webhook: Webhook) -> None:
    event = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": PROMOTED,
        "resource": {"prefect.resource.id": "optishear.registered-model.a", "prefect.resource.name": "a-0.5"},
        "payload": {"version": "3", "reason": "Promoted: perplexity 44.1.", "page": "http://mlflow/run"},
        "id": "0196a1f0-0000-7000-8000-000000000001",
    }
    assert client.request("POST", "/events", json=[event]).status_code == 204
    wait_until(lambda: "a-0.5: version 3 is the champion" in webhook.subjects(), "the call for the champion", 300)
    (body,) = [body for body in webhook.received if body["subject"].startswith("a-0.5")]
    assert body["body"].splitlines() == ["Promoted: perplexity 44.1.", "http://mlflow/run"]


def test_a_night_that_has_not_begun_is_called_for(client: SyncPrefectClient, webhook: Webhook) -> None:
    begin(client, "nightly", "nightly", Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=2)))
    wait_until(lambda: "The night has not begun" in webhook.subjects(), "the call for the night", 300)
