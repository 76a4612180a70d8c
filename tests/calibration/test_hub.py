"""A hub that cannot be reached at all is refused at once; one that answers with an error is worth another try."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from optishear.calibration.hub import why_unreachable
from optishear.calibration.text import read_documents
from servers.processes import free_port
from tasks.engine.retries import is_transient
from wording import refused


class Unavailable(BaseHTTPRequestHandler):
    """Answers every request with an error."""

    def do_HEAD(self) -> None:
        self.send_response(503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def failing_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Unavailable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()
        thread.join()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A hub whose port is closed, and nothing of it on this machine."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", address)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    return address


def test_a_hub_that_cannot_be_reached_is_refused_at_once(no_hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []
    monkeypatch.setattr("time.sleep", tries.append)
    with refused("hub:allenai/c4/en", "Connection refused", ".jsonl"):
        next(read_documents("hub:allenai/c4/en"))
    assert tries == []
    assert not constants.HF_HUB_OFFLINE


def test_the_variable_that_keeps_the_hub_away_is_named(no_hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("hub:allenai/c4/en", "HF_HUB_OFFLINE"):
        next(read_documents("hub:allenai/c4/en"))
    assert constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_with_an_error_is_asked_again(failing_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        assert not constants.HF_HUB_OFFLINE
        raise ConnectionError("503 Service Unavailable")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    assert why_unreachable() is None
    with pytest.raises(ConnectionError) as caught:
        next(read_documents("hub:allenai/c4/en"))
    assert is_transient(caught.value)
