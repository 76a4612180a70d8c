"""Results are laid out whole, as copies."""

from pathlib import Path

import pytest

from flows.shared.output_folder import output_folder, place_files
from optishear.errors import InputError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def test_an_edit_in_place_changes_nothing_in_the_store(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    place_files(output, {"model": artifact, "one.safetensors": artifact / "model.safetensors"})
    for name in ("model/model.safetensors", "model/config.json", "one.safetensors"):
        with (output / name).open("r+b") as file:
            file.write(b"XX")
    assert (artifact / "model.safetensors").read_bytes() == b"weights"
    assert (artifact / "config.json").read_text() == "{}"


def test_a_folder_replaces_the_one_of_an_earlier_run(artifact: Path, tmp_path: Path) -> None:
    place_files(tmp_path / "output", {"model": artifact})
    (tmp_path / "output" / "model" / "old.txt").write_text("old")
    (tmp_path / "output" / "notes.txt").write_text("mine")
    place_files(tmp_path / "output", {"model": artifact})
    assert sorted(path.name for path in (tmp_path / "output" / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert (tmp_path / "output" / "notes.txt").read_text() == "mine"


def test_a_failure_leaves_no_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder(tmp_path / "a" / "b"):
        raise RuntimeError("failed")
    assert not (tmp_path / "a").exists()


def test_a_failure_leaves_what_is_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder(tmp_path / "a" / "b") as output:
        (output / "kept.txt").write_text("kept")
        raise RuntimeError("failed")
    assert (tmp_path / "a" / "b" / "kept.txt").exists()


def test_an_unwritable_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), output_folder(tmp_path / "file" / "output"):
        pytest.fail("entered")
