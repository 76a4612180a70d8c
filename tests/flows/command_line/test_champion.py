"""The command that prints the folder of a champion whose files are unchanged."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows.command_line.main import main
from tasks.registration.registered_files import digest_of_files


@pytest.fixture
def folder(tmp_path: Path, tracking_database: Path) -> Path:
    """The files of the champion of ``model``."""
    folder = tmp_path / "registered"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    client = MlflowClient(tracking_uri=f"sqlite:///{tracking_database}")
    client.create_registered_model("model")
    tags = {"checkpoint": folder.as_uri(), "checkpoint_digest": digest_of_files(folder)}
    client.create_model_version("model", folder.as_uri(), tags=tags)
    client.set_registered_model_alias("model", "champion", "1")
    return folder


@pytest.mark.parametrize("flags", [[], ["--version", "1"]])
def test_the_folder_is_printed(folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["champion", "model", *flags])
    assert capsys.readouterr().out == f"{folder}\n"


def test_changed_files_end_with_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(SystemExit) as ended:
        main(["champion", "model"])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert shown.out == ""
    assert str(folder) in shown.err
