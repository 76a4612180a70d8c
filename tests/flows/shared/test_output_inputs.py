"""No output folder is, contains or lies inside what the run reads, in any flow."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.command_line.main import main
from flows.parameters.nightly import NightlyParameters
from flows.parameters.output import OutputParameters
from flows.parameters.prune import PruneParameters
from flows.registry import FLOWS
from flows.shared.checks import check
from flows.shared.output_inputs import check_output, local_inputs
from optishear.parameters.roles import Role, roles_of
from wording import refused

INPUTS = [
    (entry.parameters, name)
    for entry in FLOWS
    if issubclass(entry.parameters, OutputParameters)
    for name, role in roles_of(entry.parameters).items()
    if role is not Role.PLACE
]


def source(name: str, path: Path) -> Any:
    named = ("search_calibrations", "other_calibrations", "recovery_texts")
    lists = {**{key: [f"one={path}"] for key in named}, "other_models": [str(path)]}
    return lists.get(name, str(path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in it, each an input."""
    folder = tmp_path / "inputs" / "folder"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    return folder


@pytest.mark.parametrize(("group", "name"), INPUTS, ids=lambda each: getattr(each, "__name__", each))
def test_the_output_is_apart_from_every_input(group: type[OutputParameters], name: str, folder: Path) -> None:
    is_folder = roles_of(group)[name] in (Role.MODEL, Role.FOLDER)
    path = folder if is_folder else folder / "file"
    for output in (path, path / "within", folder.parent, folder / ".." / "folder") if is_folder else (folder,):
        with refused(str(output), name, str(path)):
            check_output(group(output=output, **{name: source(name, path)}))
    check_output(group(output=folder.parent.parent / "output", **{name: source(name, path)}))


def test_a_model_file_is_an_input(folder: Path) -> None:
    with refused("model", str(folder / "file")):
        check_output(PruneParameters(model=str(folder / "file"), output=folder))


@pytest.mark.parametrize("linked", ["output", "model", "both"])
def test_symbolic_links_are_followed(linked: str, folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    model = folder if linked == "output" else link
    output = folder if linked == "model" else link
    for place in (output, output / "within"):
        with refused(str(place), str(model)):
            check_output(PruneParameters(model=str(model), output=place))


def test_relative_paths_are_inputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with refused("calibration", "folder/file"):
        check_output(PruneParameters(calibration="folder/file", output="."))


def test_names_that_are_no_files_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wanda").mkdir()  # the recipe is the published one
    parameters = PruneParameters(model="nobody/model", calibration="hub:nobody/text", output="wanda")
    assert list(local_inputs(parameters)) == []
    check_output(parameters)


@pytest.mark.parametrize("name", ["artifacts", "artifacts/prune/key", "registered/model", "journals"])
def test_what_is_kept_for_all_runs_is_no_output(name: str, home: Path) -> None:
    with refused(str(home / name)):
        check_output(PruneParameters(output=home / name))
    check_output(PruneParameters(output=home / "output"))


def test_the_command_leaves_its_input_as_it_was(folder: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.json").write_text("{}")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main(["prune", "--model", str(folder), "--recipe", "magnitude", "--output", str(folder.parent)])
    assert ended.value.code == 2
    assert str(folder) in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (home / "artifacts").exists()


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        ([{"output": "{tmp}/a"}, {"output": "{tmp}/b/../a"}], "a"),
        ([{"output": "{tmp}/a"}, {"output": "{tmp}/a/model"}], "a"),
        ([{"output": "{tmp}/a/model"}, {"output": "{tmp}/a"}], "a"),
        ([{"output": "{tmp}/new"}, {"model": "{tmp}/folder", "output": "{tmp}/folder/x"}], "folder"),
        ([{"output": "{tmp}"}], "plan.yaml"),
    ],
    ids=["same", "within", "around", "model", "plan"],
)
def test_a_night_is_refused_before_its_first_run(runs: list[dict[str, str]], named: str, folder: Path) -> None:
    plan = folder.parent / "plan.yaml"
    text = yaml.safe_dump({"runs": runs}).replace("{tmp}", str(folder.parent))
    plan.write_text(text)
    with refused(str(folder.parent / named)):
        check(NightlyParameters(plan=plan, placement="in_process"))
