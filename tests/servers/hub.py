"""A server on a loopback port that stands for the Hugging Face hub, and that can be made to fail."""

import hashlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Fault:
    """What happens to requests.

    Attributes:
        status: answered instead of the content; ``None`` gives the content.
        wait: seconds before the answer.
        part: of the content that is sent, before the connection is closed.
        short: whether the part is announced as all there is.
        paths: pattern of the paths that it happens to.
        times: how often it happens to each request; then the hub is well.
        seconds: for which it happens, from the first request on; then the hub is well.
    """

    status: int | None = None
    wait: float = 0.0
    part: float = 1.0
    short: bool = False
    paths: str = "*"
    times: int = 1_000_000
    seconds: float = math.inf


@dataclass
class Hub:
    """Repositories of one commit each.

    Attributes:
        models: folders by id.
        data_sets: folders by id.
        fault: what happens to requests now.
        asked: how often each path was asked for since the fault was set.
    """

    models: dict[str, Path]
    data_sets: dict[str, Path]
    fault: Fault = field(default_factory=Fault)
    asked: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, fault: Fault) -> None:
        """From now on this happens to requests."""
        with self._lock:
            self.fault, self.asked = fault, Counter()

    def recover(self) -> None:
        """Answer as a hub that is well."""
        self.fail(Fault())

    def fault_of(self, method: str, path: str) -> Fault:
        """What happens to the next request."""
        with self._lock:
            if not self.asked:
                self._began = time.monotonic()
            self.asked[f"{method} {path}"] += 1
            lasts = time.monotonic() - self._began <= self.fault.seconds
            hit = fnmatch(path, self.fault.paths) and self.asked[f"{method} {path}"] <= self.fault.times
            return self.fault if hit and lasts else Fault()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of a path."""
        parts = path.strip("/").split("/")
        if parts[0] == "api" and parts[1] in ("models", "datasets") and len(parts) >= 4:
            kind, name, rest = parts[1], "/".join(parts[2:4]), parts[4:]
            folder = self._folder(kind, name)
            return (
                (404, b"", {"X-Error-Code": "RepoNotFound"}) if folder is None else self._api(name, folder, rest, body)
            )
        kind = "datasets" if parts[0] == "datasets" else "models"
        parts = parts[1:] if kind == "datasets" else parts
        folder = self._folder(kind, "/".join(parts[:2]))
        if folder is None or len(parts) < 5 or parts[2] != "resolve":
            return 404, b"", {"X-Error-Code": "RepoNotFound"}
        file = folder.joinpath(*parts[4:])
        if not file.is_file():
            return 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
        content = file.read_bytes()
        return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}

    def _folder(self, kind: str, name: str) -> Path | None:
        return (self.models if kind == "models" else self.data_sets).get(name)

    def _api(self, name: str, folder: Path, rest: list[str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        files = [_described(file) for file in sorted(folder.iterdir())]
        answer: Any = files
        if rest[:1] == ["paths-info"]:
            wanted = json.loads(body)["paths"]
            answer = [file for file in files if file["path"] in wanted]
        elif rest[:1] == ["tree"]:
            answer = files if len(rest) == 2 else []
            if len(rest) > 2:
                return 404, b"", {"X-Error-Code": "EntryNotFound"}
        elif rest[:1] in ([], ["revision"]):
            siblings = [{"rfilename": file["path"]} for file in files]
            answer = {"_id": "0", "id": name, "sha": COMMIT, "siblings": siblings, "gated": False, "private": False}
            answer |= {"tags": [], "downloads": 0, "likes": 0, "lastModified": "2026-01-01T00:00:00.000Z"}
        else:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}


def _described(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"type": "file", "path": file.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def running_hub(models: dict[str, Path], data_sets: dict[str, Path]) -> Iterator[Hub]:
    """Serve folders of files while the body runs."""
    hub = Hub(models, data_sets)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        do_HEAD = do_POST = do_GET

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            fault = hub.fault_of(self.command, path)
            if fault.wait:
                time.sleep(fault.wait)
            status, content, headers = hub.answer(path, body)
            if fault.status is not None:
                status, content, headers = fault.status, b"no", {"Retry-After": "1"} if fault.status == 429 else {}
            wanted = self.headers.get("Range")
            if status == 200 and wanted is not None:
                status, whole = 206, len(content)
                begin, _, last = wanted.removeprefix("bytes=").partition("-")
                content = content[int(begin) : int(last or whole) + 1]
                headers["Content-Range"] = f"bytes {begin}-{int(begin) + len(content) - 1}/{whole}"
            sent = content[: int(len(content) * fault.part)]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(sent if fault.short and self.command == "GET" else content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)
            if len(sent) < len(content):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Nothing; a client that no longer waits closes its connection."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
