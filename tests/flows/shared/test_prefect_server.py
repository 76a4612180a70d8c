"""A server that wants a password, which answers for its health without one."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.shared.prefect_server import check_server
from optishear.errors import InputError
from wording import refused

WANTED = "Basic " + base64.b64encode(b"keeper:right").decode()


class Guard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_let_in = self.path == "/api/health" or self.headers.get("Authorization") == WANTED
        self.send_response(200 if is_let_in else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("given", [None, "keeper:wrong"])
def test_a_wrong_password_is_refused(host: str, given: str | None) -> None:
    settings = {PREFECT_API_URL: f"http://{host}/api", PREFECT_API_AUTH_STRING: given}
    with temporary_settings(settings), refused(f"http://{host}/api", 401, "PREFECT_API_AUTH_STRING"):
        check_server()


def test_the_right_password_is_taken(host: str) -> None:
    url = f"http://{host}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: "keeper:right"}):
        assert check_server() == url


def test_a_password_in_the_address_is_not_shown(host: str) -> None:
    url = f"http://keeper:hidden@{host}/api"
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(InputError) as caught:
        check_server()
    assert "hidden" not in str(caught.value)
