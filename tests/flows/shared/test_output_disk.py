"""What a run writes fits on its disks before it begins, and before its results are copied."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.parameters.pipeline import PipelineParameters
from flows.shared import output_disk, output_folder
from flows.shared.checks import CHECKS
from flows.shared.output_disk import check_disks, check_room_for_checkpoint
from optishear.files import copies_take_no_space
from own_disk import fill, make_read_only, own_disk
from wording import refused

MIB = 2**20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with own_disk(tmp_path / "small", 4) as folder:
        yield folder


@pytest.fixture
def parameters(tmp_path: Path, home: Path, model_folder: Path) -> PipelineParameters:
    home.mkdir(exist_ok=True)
    (tmp_path / "output").mkdir()
    return PipelineParameters(model=str(model_folder), sparsity="0.5", output=tmp_path / "output")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What every disk says of itself; no copy is free of charge."""
    sizes = SimpleNamespace(total=100 * MIB, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: sizes)
    for module in (output_disk, output_folder):
        monkeypatch.setattr(module, "copies_take_no_space", lambda *_: False)
    return sizes


@pytest.mark.parametrize("of_home", [True, False])
@pytest.mark.parametrize("breaks", [fill, make_read_only])
def test_a_folder_that_takes_no_files_is_refused_first(
    of_home: bool,
    breaks: object,
    small: Path,
    parameters: PipelineParameters,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CHECKS[0] is check_disks
    if of_home:
        monkeypatch.setenv("OPTISHEAR_HOME", str(small))
    else:
        parameters = parameters.model_copy(update={"output": small})
    check_disks(parameters)
    assert callable(breaks)
    breaks(small)
    with refused(small):
        check_disks(parameters)


def test_the_pruned_checkpoint_fits_in_the_output_folder(
    parameters: PipelineParameters, disk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.free = (Path(parameters.model) / "model.safetensors").stat().st_size
    check_room_for_checkpoint(parameters, parameters, parameters)
    disk.free -= 1
    with refused("pruned checkpoint", parameters.output):
        check_room_for_checkpoint(parameters, parameters, parameters)
    # Shared blocks take no room.
    monkeypatch.setattr(output_disk, "copies_take_no_space", lambda *_: True)
    check_room_for_checkpoint(parameters, parameters, parameters)


def test_results_that_do_not_fit_are_not_begun_to_be_copied(
    parameters: PipelineParameters, disk: SimpleNamespace, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.write_bytes(bytes(2 * MIB))
    disk.free = 2 * MIB - 1
    with output_folder.output_folder("run", parameters) as output:
        before = sorted(os.listdir(output))
        with refused("results", "2.00 MiB", output):
            output_folder.place_files(output, {"results": results})
        assert sorted(os.listdir(output)) == before
        disk.free = 2 * MIB
        output_folder.place_files(output, {"results": results})
        assert (output / "results").stat().st_size == 2 * MIB


def test_copies_between_two_disks_take_space(small: Path, tmp_path: Path) -> None:
    assert not copies_take_no_space(small, tmp_path)
    assert not copies_take_no_space(small, tmp_path / "absent")
