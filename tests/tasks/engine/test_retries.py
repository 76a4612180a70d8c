"""Another try is made where it can help, and never for bad input."""

import errno
import os
import shutil
from pathlib import Path

import httpx
import pytest
import torch
from prefect.states import Failed

from optishear.errors import InputError
from tasks.engine.retries import is_transient, retry_unless_disk, unanswered


class Timeout(Exception):
    pass


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError("slow"), Timeout("slow")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    # Where less memory would do, a smaller batch was tried before.
    [InputError("bad"), ValueError("bug"), RuntimeError("bug"), torch.OutOfMemoryError("full"), None],
)
def test_what_fails_the_same_way_is_not(error: Exception | None) -> None:
    assert not is_transient(error)


def test_the_cause_counts() -> None:
    error = RuntimeError("loading failed")
    error.__cause__ = TimeoutError("slow")
    assert is_transient(error)


def test_bad_input_stays_bad_input_whatever_its_cause() -> None:
    error = InputError("The hub cannot be reached.")
    error.__cause__ = TimeoutError("slow")
    assert not is_transient(error)


def test_the_wording_names_the_server_of_httpx() -> None:
    error = RuntimeError("Unable to acquire concurrency slots")
    error.__cause__ = httpx.ConnectError(
        "", request=httpx.Request("POST", "http://prefect.example:4200/api/flow_runs/")
    )
    error.__cause__.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert unanswered(error) == (
        "The server prefect.example:4200 did not answer (Connection refused). Once it does, the same command goes on "
        "where it was."
    )


def test_the_wording_names_the_server_of_mlflow() -> None:
    error = RuntimeError("API request failed: HTTPConnectionPool(host='mlflow.example', port=5000): Max retries")
    error.__context__ = TimeoutError("timed out")
    assert str(unanswered(error)).startswith("The server mlflow.example:5000 did not answer (timed out). ")


@pytest.mark.parametrize(("status", "may_pass"), [(500, True), (503, True), (404, False), (422, False)])
def test_a_server_that_fails_itself_may_pass(status: int, may_pass: bool) -> None:
    """As Prefect's, whose database is away."""
    request = httpx.Request("POST", "http://prefect.example:4200/api/flow_runs/")
    error = httpx.HTTPStatusError("words", request=request, response=httpx.Response(status, request=request))
    assert is_transient(error) == may_pass
    sentence = "The server prefect.example:4200 did not answer (500 Internal Server Error). Once it does, "
    assert status != 500 or str(unanswered(error)).startswith(sentence)


def test_the_wording_without_a_named_server() -> None:
    assert str(unanswered(httpx.ReadTimeout(""))).startswith("The server did not answer (ReadTimeout). ")


def test_another_failure_has_no_such_sentence() -> None:
    assert unanswered(ValueError("bug")) is None


def test_what_a_disk_has_failed_is_not_tried_again(home: Path) -> None:
    def tried_again(error: BaseException) -> bool:
        return retry_unless_disk(None, None, Failed(data=error))

    home.mkdir()
    assert tried_again(RuntimeError("500 Internal Server Error"))
    assert tried_again(ConnectionError("no route"))
    assert not tried_again(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert not tried_again(RuntimeError(f"the row was not stored: {os.strerror(errno.EROFS)}"))
    shutil.rmtree(home)
    assert not tried_again(RuntimeError("500 Internal Server Error"))
