"""Embedded by default, the user's own settings first."""

import errno
import io
import logging
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from tqdm import tqdm

from flows.shared.defaults import set_defaults, uses_embedded_prefect
from flows.shared.environment import _Console, _WithoutDisks, make_home
from wording import refused


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path / "home"))
    # Whatever the test sets is taken back afterwards.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_nothing_is_sent_anywhere_and_prefect_lives_in_the_home_folder(tmp_path: Path) -> None:
    set_defaults()
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "home" / "prefect")
    assert uses_embedded_prefect()


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"])
def test_the_users_own_prefect_is_left_alone(name: str) -> None:
    os.environ[name] = "own"
    set_defaults()
    assert os.environ[name] == "own"
    assert not uses_embedded_prefect()


def test_a_prefect_profile_of_the_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text('active = "cloud"\n')
    set_defaults()
    assert "PREFECT_HOME" not in os.environ


def test_own_settings_are_kept() -> None:
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    set_defaults()
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_a_new_home_is_for_the_user_alone(tmp_path: Path) -> None:
    os.environ["OPTISHEAR_HOME"] = str(tmp_path / "new")
    make_home()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize(("mode", "allowed"), [(0o700, True), (0o775, True), (0o777, False), (0o702, False)])
def test_a_home_that_everyone_can_write_to_is_refused(mode: int, allowed: bool, tmp_path: Path) -> None:
    home = tmp_path / "shared"
    os.environ["OPTISHEAR_HOME"] = str(home)
    home.mkdir()
    home.chmod(mode)
    if allowed:
        make_home()
        assert stat.S_IMODE(home.stat().st_mode) == mode
    else:
        with refused(str(home), "chmod o-w", "OPTISHEAR_HOME"):
            make_home()


def test_a_line_of_the_log_is_not_written_into_a_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    console = _Console()
    record = logging.LogRecord("optishear.stages", logging.INFO, "", 0, "search: 1 min so far", None, None)
    with tqdm(total=2, desc="search", miniters=1, mininterval=0) as bar:
        bar.update()
        console.handle(record)
    lines = re.split(r"[\r\n]", capsys.readouterr().err)
    assert "search: 1 min so far" in lines
    assert any("1/2" in line for line in lines)


def test_the_tracebacks_of_a_broken_disk_are_not_shown_and_those_of_a_fault_are(home: Path) -> None:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    filtering = _WithoutDisks()
    handler.addFilter(filtering)

    def shown(message: str, error: BaseException | None = None) -> bool:
        output.seek(0)
        output.truncate()
        exception = (type(error), error, None) if error else None
        handler.handle(logging.LogRecord("mlflow", logging.ERROR, "", 0, message, (), exception))
        return bool(output.getvalue())

    make_home()
    assert not shown("a row was not stored", OSError(errno.ENOSPC, "No space left on device"))
    assert not shown(f"result: {os.strerror(errno.ENOSPC)}")
    assert shown("a row was not stored")
    assert shown("a row was not stored", KeyError("model"))
    # A server whose disk it is says nothing of it.
    shutil.rmtree(home)
    assert not shown("a row was not stored", RuntimeError("500 Internal Server Error"))
    # It was made again by a lock.
    make_home()
    assert shown("a file was not found", RuntimeError("trials.parquet"))
    filtering.home = home, (0, 0)
    assert not shown("a file was not found", RuntimeError("trials.parquet"))
    # Another run of this process has another home folder.
    filtering.home = home.with_name("other"), (0, 0)
    assert shown("a file was not found", RuntimeError("trials.parquet"))
