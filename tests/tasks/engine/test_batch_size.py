"""Where memory runs out, the same work is done with smaller batches."""

import pytest
import torch

from tasks.engine.batch_size import with_smaller_batches


def full() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_the_batch_is_halved_until_it_fits() -> None:
    tried = []

    def work(batch_size: int) -> str:
        tried.append(batch_size)
        if batch_size > 2:
            raise full()
        return "done"

    assert with_smaller_batches(8, work) == "done"
    assert tried == [8, 4, 2]


def test_one_sequence_is_the_least() -> None:
    tried = []

    def work(batch_size: int) -> None:
        tried.append(batch_size)
        raise full()

    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_batches(3, work)
    assert tried == [3, 1]


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory. Not really")])
def test_another_error_is_not_tried_again(error: Exception) -> None:
    tried = []

    def work(batch_size: int) -> None:
        tried.append(batch_size)
        raise error

    with pytest.raises(type(error)):
        with_smaller_batches(8, work)
    assert tried == [8]
