"""What imports make is left out of the searches for garbage; what comes later is found."""

import gc
import weakref

import pytest

from flows.shared import imports
from flows.shared.imports import many_imports


class Node:
    """What only a cycle holds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def left_out(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that something is left out, of bodies that are the first of their process."""
    times: list[None] = []
    imports._leave_out.cache_clear()
    monkeypatch.setattr(gc, "freeze", lambda: times.append(None))
    return times


def test_nothing_is_looked_for_during_imports_and_their_objects_are_left_out_once(left_out: list[None]) -> None:
    for _ in range(2):
        with many_imports():
            assert not gc.isenabled()
        assert gc.isenabled()
    assert len(left_out) == 1


def test_an_import_that_fails_leaves_the_search_on(left_out: list[None]) -> None:
    with pytest.raises(ModuleNotFoundError), many_imports():
        raise ModuleNotFoundError
    assert gc.isenabled()
    assert left_out == []


def test_garbage_that_comes_after_the_imports_is_found() -> None:
    imports._leave_out.cache_clear()
    with many_imports():
        pass
    held = weakref.ref(Node())
    assert held() is not None
    gc.collect()
    assert held() is None
