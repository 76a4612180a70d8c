"""Where memory runs out, the same work is done with smaller batches."""

import gc
import weakref

import pytest
import torch

from optishear.batch_size import BatchSize, DoesNotFit


def full() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_the_batch_is_halved_until_it_fits_and_stays_so() -> None:
    tried = []

    def work(size: int) -> str:
        tried.append(size)
        if size > 2:
            raise full()
        return "done"

    batch = BatchSize(8)
    assert batch.run(work) == batch.run(work) == "done"
    assert tried == [8, 4, 2, 2]
    assert batch.size == 2


def test_one_sequence_is_the_least() -> None:
    tried = []

    def work(size: int) -> None:
        tried.append(size)
        raise full()

    with pytest.raises(DoesNotFit, match="one sequence"):
        BatchSize(3).run(work)
    assert tried == [3, 1]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory. Not really")])
def test_another_error_is_not_tried_again(error: Exception) -> None:
    tried = []

    def work(size: int) -> None:
        tried.append(size)
        raise error

    with pytest.raises(type(error)):
        BatchSize(8).run(work)
    assert tried == [8]


def test_the_work_goes_on_at_the_batch_that_failed() -> None:
    done: list[range] = []
    failures = [4, 6]  # The last two make up one batch of half the size.

    def work(places: slice) -> range:
        if failures and places.stop > failures[0]:
            failures.pop(0)
            raise full()
        done.append(range(10)[places])
        return done[-1]

    assert list(BatchSize(4).each(10, work)) == done
    assert [list(places) for places in done] == [[0, 1, 2, 3], [4, 5], [6], [7], [8], [9]]


def test_the_failed_work_holds_no_memory_when_it_is_repeated() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work(size: int) -> None:
        assert all(each() is None for each in held)
        tensor = torch.zeros(size)
        held.append(weakref.ref(tensor))
        if size > 1:
            raise full()

    gc.disable()
    try:
        BatchSize(4).run(work)
    finally:
        gc.enable()
    assert len(held) == 3
