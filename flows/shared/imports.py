"""Imports of many modules, without searches for garbage among them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def many_imports() -> Iterator[None]:
    """Look for no garbage while the body imports, and leave what the first body made out of all later searches.

    PyTorch, transformers, Prefect and MLflow make a million objects, which stay. Each stage ends with a search for
    what its model has left in cycles (``release_model``), which would go over all of them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
    _leave_out()


@cache
def _leave_out() -> None:
    # Once: later there are models too, which have to be found when they are garbage.
    gc.freeze()
