"""A hub that is slow, fails or sends half a file is asked again, and what came of it is whole or not there."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_api

from optishear.errors import HubError
from optishear.models.folder import checkpoint_folder, local_source
from optishear.models.source import resolve_model
from servers.hub import COMMIT, Fault, Hub, running_hub
from tasks.engine.retries import unanswered
from wording import refused

NAME = "someone/tiny"
WEIGHTS = f"/{NAME}/resolve/*/model.safetensors"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(100_000))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with running_hub({NAME: folder}, {}) as hub:
        use(hub.url, monkeypatch)
        yield hub


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library, which reads the address once in a process, ask another hub."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", url)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited before further tries, in no time."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, times=2, paths=WEIGHTS),
        Fault(status=429, times=2, paths=WEIGHTS),
        Fault(status=503, times=2, paths=f"/api/models/{NAME}"),
        Fault(part=0.5, times=2, paths=WEIGHTS),
        Fault(part=0.5, short=True, times=1, paths=WEIGHTS),
    ],
    ids=["500", "429", "503 for the list", "cut off", "half a file"],
)
def test_a_fault_that_passes(fault: Fault, hub: Hub, waits: list[float]) -> None:
    hub.fail(fault)
    source = resolve_model(NAME)
    assert source.revision == COMMIT
    assert files(checkpoint_folder(source)) == files(hub.models[NAME])
    assert waits


def test_a_fault_that_stays_leaves_nothing_that_is_taken_for_whole(
    hub: Hub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fail(Fault(status=500, paths=WEIGHTS))
    with pytest.raises(HubError) as caught:
        checkpoint_folder(resolve_model(NAME))
    sentence = str(unanswered(caught.value))
    assert sentence.startswith(f"The hub {hub.url} did not give ")
    assert "500 Internal Server Error" in sentence
    assert f"/{COMMIT}/model.safetensors" in sentence
    assert sentence.endswith("goes on where it was.")
    assert waits
    waits.clear()
    # The files that did come are no model.
    use(CLOSED, monkeypatch)
    with refused(NAME, "cannot be reached"):
        resolve_model(NAME)
    assert waits == []
    use(hub.url, monkeypatch)
    hub.recover()
    assert files(checkpoint_folder(resolve_model(NAME))) == files(hub.models[NAME])


def test_a_hub_that_fails_at_the_first_question(hub: Hub, waits: list[float]) -> None:
    hub.fail(Fault(status=503))
    with pytest.raises(HubError, match="503"):
        resolve_model(NAME)
    assert waits == [1, 2, 4, 8, 8]


def test_settings_come_before_weights(hub: Hub) -> None:
    hub.fail(Fault(status=500, paths=WEIGHTS))
    folder = checkpoint_folder(resolve_model(NAME), weights=False)
    assert sorted(files(folder)) == ["config.json", "tokenizer.json"]


def test_an_optional_file_that_fails_is_not_passed_over(hub: Hub, waits: list[float]) -> None:
    hub.fail(Fault(status=500, paths="*/tokenizer.json"))
    with pytest.raises(HubError, match=r"tokenizer\.json"):
        local_source(resolve_model(NAME), weights=False)
    assert waits


def test_a_model_that_was_downloaded_is_found_where_the_hub_is_away(
    hub: Hub, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = checkpoint_folder(resolve_model(NAME))
    use(CLOSED, monkeypatch)
    away = resolve_model(NAME)
    assert (away.location, away.fingerprint) == (str(here), f"hub:{NAME}@{COMMIT}")
    assert waits == []
    use(hub.url, monkeypatch)
    hub.fail(Fault(status=500))
    assert resolve_model(NAME).location == str(here)
