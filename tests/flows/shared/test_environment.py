"""Embedded by default, the user's own settings first."""

import os
from pathlib import Path

import pytest

from flows.shared.environment import set_defaults, uses_embedded_prefect


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
