"""A stage that fits is let through, one that fits with smaller passes says so, and another one is refused."""

import logging

import pytest
import torch

from optishear.errors import InputError
from optishear.memory import fit
from optishear.memory.fit import check_need, fitting_batch, least_room, log_ways, room
from optishear.memory.need import Need, need_at_peak
from wording import refused

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def of_batch(size: int) -> Need:
    return Need("statistics", {"weights": 100, "activations": 10 * size})


def test_a_need_is_that_of_the_moment_with_most() -> None:
    need = need_at_peak("search", {"weights": 2**40, "copy": 2**40}, {"weights": 2**40, "masks": 2**39})
    assert list(need.parts) == ["weights", "copy", "reserve"]
    assert 2**41 < need.total < 1.04 * 2**41
    assert need.beside_weights == need.total - 2**40


def test_the_batch_is_halved_until_it_fits() -> None:
    assert fitting_batch(8, of_batch, 180)[0] == 8
    size, need = fitting_batch(8, of_batch, 179)
    assert size == 4
    assert need.total == 140
    assert need.ways == ("4 instead of 8 sequences per pass",)
    assert fitting_batch(8, of_batch, 0)[0] == 1
    assert fitting_batch(8, of_batch, None)[0] == 8


def test_what_fits_is_let_through() -> None:
    check_need(of_batch(1), CUDA, 110, "a model")
    check_need(of_batch(1), CUDA, None, "a model")


def test_what_does_not_fit_is_refused_with_stage_need_room_and_fix() -> None:
    with refused("statistics", "'a model'", "110 B", "109 B", "GPU", "lower sequence_length"):
        check_need(of_batch(1), CUDA, 109, "a model", "lower sequence_length")


def test_the_hosts_part_counts_on_a_cpu_alone() -> None:
    need = Need("gradients", {"weights": 100}, host={"gradients": 50})
    check_need(need, CUDA, 100, "a model")
    with pytest.raises(InputError, match="150 B"):
        check_need(need, CPU, 149, "a model")


def test_wording_of_a_stage_that_does_not_fit() -> None:
    need = Need("prune", {"weights": 2**34, "masks": 2**30})
    with pytest.raises(InputError) as caught:
        check_need(need, CUDA, 2**33, "a model")
    assert str(caught.value) == (
        "The stage prune of the model 'a model' needs 17.0 GiB (weights 16.0 GiB, masks 1.00 GiB), and 8.00 GiB of the "
        "GPU's memory are free; take a smaller model or a GPU with more."
    )


def test_unknown_memory_is_said_and_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: torch.device) -> int:
        raise RuntimeError("no query")

    monkeypatch.setattr(fit, "free_memory", fails)
    with caplog.at_level(logging.WARNING):
        assert room(CUDA) is None
    assert "no query" in caplog.text


def test_a_smaller_way_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    size_and_need = fitting_batch(4, of_batch, 120)
    with caplog.at_level(logging.WARNING):
        log_ways(size_and_need[1], 120)
    assert "2 instead of 4 sequences per pass" in caplog.text


def test_the_device_with_least_room_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {0: 100, 1: 60}
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    monkeypatch.setattr(fit, "free_memory", lambda device: free[device.index])
    assert least_room({first: 0, second: 0}) == 60
    assert least_room({first: 0, second: 50}) == 100
    assert least_room({first: 10, second: 20}, models=2) == 50
    monkeypatch.setattr(fit, "room", lambda device: None if device == second else 100)
    assert least_room({first: 0, second: 0}) is None
