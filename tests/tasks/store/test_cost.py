"""Seconds and peak memory are measured, not guessed."""

import time
from mmap import mmap

from tasks.store.cost import measured


def test_seconds_are_those_of_the_body() -> None:
    with measured() as cost:
        time.sleep(0.1)
    assert 0.1 <= cost.seconds < 0.5


def test_the_peak_counts_memory_that_is_freed_again() -> None:
    with measured() as small:
        pass
    # Pages of its own: an array may get memory that the allocator has kept from earlier tests.
    with measured() as large, mmap(-1, 64 * 2**20) as block:
        block.write(b"1" * len(block))
        time.sleep(0.5)
    assert large.peak_memory_bytes - small.peak_memory_bytes > 48 * 2**20
