"""Seconds and peak memory are measured, not guessed."""

import time

import numpy as np

from tasks.store.cost import measured


def test_seconds_are_those_of_the_body() -> None:
    with measured() as cost:
        time.sleep(0.1)
    assert 0.1 <= cost.seconds < 0.5


def test_the_peak_counts_memory_that_is_freed_again() -> None:
    with measured() as small:
        pass
    with measured() as large:
        block = np.ones(64 * 2**20, dtype=np.uint8)
        time.sleep(0.2)
        del block
    assert large.peak_memory_bytes - small.peak_memory_bytes > 48 * 2**20
