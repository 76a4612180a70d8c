"""Another try is made where it can help, and never for bad input."""

import pytest
import torch

from optishear.errors import InputError
from tasks.engine.retries import is_transient


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
