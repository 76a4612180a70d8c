"""Results are laid out whole, as copies."""

import json
from pathlib import Path

import pytest

from flows.parameters.calibrate import CalibrateParameters
from flows.parameters.sweep import SweepParameters, pipelines_of
from flows.shared.folder_lock import locked
from flows.shared.output_folder import output_folder, place_files
from flows.shared.output_record import RECORD, read_record
from optishear.files import remove
from wording import refused


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


def calibrate(output: Path) -> CalibrateParameters:
    """Parameters of a run into the folder."""
    return CalibrateParameters(output=output)


def run(output: Path, files: dict[str, Path], command: str = "prune") -> None:
    """One run from its begin to its end."""
    with output_folder(command, calibrate(output)) as folder:
        place_files(folder, files)


def names(folder: Path) -> set[str]:
    """The files of a folder, without its record."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return paths - {RECORD}


def test_an_edit_in_place_changes_nothing_in_the_store(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    run(output, {"model": artifact, "one.safetensors": artifact / "model.safetensors"})
    for name in ("model/model.safetensors", "model/config.json", "one.safetensors"):
        with (output / name).open("r+b") as file:
            file.write(b"XX")
    assert (artifact / "model.safetensors").read_bytes() == b"weights"
    assert (artifact / "config.json").read_text() == "{}"


def test_a_folder_replaces_the_one_of_a_release_without_records(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / "model").mkdir(parents=True)
    (output / "model" / "old.txt").write_text("old")
    (output / "notes.txt").write_text("mine")
    run(output, {"model": artifact})
    assert names(output) == {"model/config.json", "model/model.safetensors", "notes.txt"}


def test_a_failure_leaves_no_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder("prune", calibrate(tmp_path / "a" / "b")):
        raise RuntimeError("failed")
    assert not (tmp_path / "a").exists()


def test_a_failure_leaves_what_is_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder("prune", calibrate(tmp_path / "a" / "b")) as output:
        (output / "kept.txt").write_text("kept")
        raise RuntimeError("failed")
    assert names(tmp_path / "a" / "b") == {"kept.txt"}


def test_an_unwritable_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused("file", "written"), output_folder("prune", calibrate(tmp_path / "file" / "output")):
        pytest.fail("entered")


def test_nothing_is_placed_where_one_file_cannot_be(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    run(output, {"recipe.yaml": artifact / "config.json"})
    before = (output / "recipe.yaml").stat().st_ino
    with pytest.raises(FileNotFoundError):
        run(output, {"model": artifact, "recipe.yaml": artifact / "config.json", "front": tmp_path / "missing"})
    assert names(output) == {"recipe.yaml"}
    assert (output / "recipe.yaml").stat().st_ino == before


def test_what_an_earlier_run_wrote_is_replaced_as_a_whole(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    run(output, {"model": artifact, "front": artifact, "trials.parquet": artifact / "config.json"})
    (output / "notes.txt").write_text("mine")
    (output / "front" / "mine.txt").write_text("mine")
    run(output, {"recipe.yaml": artifact / "config.json"})
    assert names(output) == {"recipe.yaml", "notes.txt", "front/mine.txt"}
    assert not (output / "model").exists()


def test_a_run_that_places_twice_keeps_both(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    run(output, {"old.json": artifact / "config.json"})
    with output_folder("prune", calibrate(output)) as folder:
        place_files(folder, {"recipe.yaml": artifact / "config.json"})
        place_files(folder, {}, {"metrics.json": {"perplexity": 3}})
        place_files(folder, {}, {"metrics.json": {"perplexity": 4}})
    assert names(output) == {"recipe.yaml", "metrics.json"}
    assert json.loads((output / "metrics.json").read_text()) == {"perplexity": 4}
    run(output, {"new.json": artifact / "config.json"})
    assert names(output) == {"new.json"}


def test_a_changed_file_of_an_earlier_run_stays_and_is_named(
    artifact: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "output"
    run(output, {"recipe.yaml": artifact / "config.json"})
    (output / "recipe.yaml").write_text("edited by hand")
    run(output, {"model": artifact})
    assert (output / "recipe.yaml").read_text() == "edited by hand"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "recipe.yaml" in warning


def test_results_without_a_record_are_named(artifact: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "output"
    output.mkdir()
    (output / "trials.parquet").touch()
    run(output, {"recipe.yaml": artifact / "config.json"})
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "trials.parquet" in warning


def test_the_results_of_another_command_are_refused(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    run(output, {"model": artifact}, command="prune")
    with refused(str(output), "prune", "evaluate"):
        run(output, {"metrics.json": artifact / "config.json"}, command="evaluate")
    assert names(output) == {"model/config.json", "model/model.safetensors"}
    for path in output.iterdir():
        remove(path)
    (output / "notes.txt").touch()
    run(output, {"metrics.json": artifact / "config.json"}, command="evaluate")


def test_what_a_killed_run_left_behind_is_removed(artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    (output / ".results.0123abcd.partial").mkdir(parents=True)
    (output / ".statistics.parquet.0123abcd.partial").touch()
    (output / ".model.0123abcd.old").mkdir()
    (output / ".mine.partial").touch()
    run(output, {"recipe.yaml": artifact / "config.json"})
    assert {path.name for path in output.iterdir()} == {"recipe.yaml", RECORD, ".mine.partial"}


def test_a_sweep_leaves_no_folder_of_an_earlier_sweep(artifact: Path, tmp_path: Path) -> None:
    def sweep(*sparsities: str) -> None:
        parameters = SweepParameters(output=tmp_path / "swept", sparsities=list(sparsities))
        with output_folder("sweep", parameters) as output:
            for each in pipelines_of(parameters).values():
                with output_folder("run", each) as folder:
                    place_files(folder, {"metrics.json": artifact / "config.json"})
            place_files(output, {"sweep.html": artifact / "config.json"})

    sweep("0.5", "2:4")
    assert names(tmp_path / "swept") >= {"0.5/metrics.json", "2of4/metrics.json", "sweep.html"}
    (tmp_path / "swept" / "2of4" / "notes.txt").touch()
    sweep("0.6")
    assert {path.name for path in (tmp_path / "swept").iterdir()} == {"0.6", "2of4", "sweep.html", RECORD}
    assert names(tmp_path / "swept" / "2of4") == {"notes.txt"}


def test_a_sweep_that_is_killed_between_two_sparsities_has_named_the_first(artifact: Path, tmp_path: Path) -> None:
    def killed_sweep(*sparsities: str) -> None:
        parameters = SweepParameters(output=tmp_path / "swept", sparsities=list(sparsities))
        with output_folder("sweep", parameters):
            first, *_ = pipelines_of(parameters).values()
            with output_folder("run", first) as cell:
                place_files(cell, {"metrics.json": artifact / "config.json"})

    killed_sweep("0.5", "2:4")
    record = read_record(tmp_path / "swept")
    assert record is not None
    assert (record.command, record.runs) == ("sweep", ["0.5"])
    with refused("sweep", "run"), output_folder("run", calibrate(tmp_path / "swept")):
        pytest.fail("entered")
    killed_sweep("0.6", "2:4")
    record = read_record(tmp_path / "swept")
    assert record is not None
    assert record.runs == ["0.5", "0.6"]
    # The first sweep that ends removes what the killed ones have left.
    parameters = SweepParameters(output=tmp_path / "swept", sparsities=["2:4"])
    with output_folder("sweep", parameters) as swept:
        (cell,) = pipelines_of(parameters).values()
        with output_folder("run", cell) as folder:
            place_files(folder, {"metrics.json": artifact / "config.json"})
        place_files(swept, {"sweep.html": artifact / "config.json"})
    assert {path.name for path in (tmp_path / "swept").iterdir()} == {RECORD, "2of4", "sweep.html"}


def test_a_sparsity_that_fails_leaves_nothing_of_an_earlier_sweep(artifact: Path, tmp_path: Path) -> None:
    parameters = SweepParameters(output=tmp_path / "swept", sparsities=["0.5", "2:4"])
    first, second = pipelines_of(parameters).values()
    for each in (first, second), (first,):
        with output_folder("sweep", parameters) as output:
            for one in each:
                with output_folder("run", one) as folder:
                    place_files(folder, {"metrics.json": artifact / "config.json"})
            place_files(output, {"sweep.html": artifact / "config.json"})
    assert {path.name for path in (tmp_path / "swept").iterdir()} == {"0.5", "sweep.html", RECORD}


def test_a_sweep_is_refused_where_one_of_its_folders_is_in_use(tmp_path: Path) -> None:
    parameters = SweepParameters(output=tmp_path / "swept", sparsities=["0.5", "2:4"])
    _, second = pipelines_of(parameters).values()
    second.output.mkdir(parents=True)
    with locked(second.output, "optishear run"), refused(str(second.output)), output_folder("sweep", parameters):
        pytest.fail("entered")
    assert not (tmp_path / "swept" / "0.5").exists()
