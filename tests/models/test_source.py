import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from optishear.errors import InputError
from optishear.models.source import ModelSource, resolve_model
from wording import refused

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_folder_is_its_own_location(model_folder: Path) -> None:
    source = resolve_model(str(model_folder))

    assert source.name == str(model_folder)
    assert source.location == str(model_folder)
    assert source.public_name == "tiny-llama"
    assert source.hub_id is None
    assert source.gguf is None


def test_the_fingerprint_of_a_folder_is_that_of_its_content(model_folder: Path, tmp_path: Path) -> None:
    before = resolve_model(str(model_folder)).fingerprint
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    (copy / "README.md").write_text("a card")
    (copy / "trainer_state.json").write_text("{}")

    assert resolve_model(str(copy)).fingerprint == before


@pytest.mark.parametrize(
    "file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_the_fingerprint_changes_with_each_file_that_decides_the_model(model_folder: Path, file: str) -> None:
    before = resolve_model(str(model_folder)).fingerprint
    with (model_folder / file).open("ab") as changed:
        changed.write(b" ")

    assert resolve_model(str(model_folder)).fingerprint != before


def test_the_fingerprint_changes_with_a_file_name(model_folder: Path) -> None:
    before = resolve_model(str(model_folder)).fingerprint
    (model_folder / "model.safetensors").rename(model_folder / "other.safetensors")

    assert resolve_model(str(model_folder)).fingerprint != before


def test_a_relative_folder_gets_an_absolute_location(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model_folder)
    source = resolve_model(".")

    assert source.location == str(model_folder)
    assert source.public_name == "tiny-llama"


def test_a_gguf_is_known_by_its_bytes(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF and more")
    digest = hashlib.sha256(b"GGUF and more").hexdigest()

    assert resolve_model(str(file)) == ModelSource(
        str(file), str(home / "models" / digest), digest, revision=None, gguf=file
    )
    assert resolve_model(str(file)).public_name == "small.gguf"


def test_a_package_keeps_its_public_name(
    tmp_path: Path, write_gguf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site")
    file = write_gguf(tmp_path / "site" / "package_h" / "model.gguf")

    source = resolve_model("package:package_h")

    assert source.gguf == file
    assert source.public_name == "package:package_h"


def _raise(error: Exception) -> Callable[..., Any]:
    def raising(*args: Any, **kwargs: Any) -> Any:
        raise error

    return raising


def _hub_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    return kind("no", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]


def _hub(monkeypatch: pytest.MonkeyPatch, *files: str, gated: str | bool = False) -> None:
    siblings = [SimpleNamespace(rfilename=file) for file in files]
    info = SimpleNamespace(sha=COMMIT, siblings=siblings, gated=gated)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda name, timeout: info)


def test_a_hub_model_is_pinned_to_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, "config.json", "model.safetensors")

    source = resolve_model("someone/small")

    assert source == ModelSource("someone/small", "someone/small", f"hub:someone/small@{COMMIT}", revision=COMMIT)
    assert source.public_name == source.hub_id == "someone/small"


@pytest.mark.parametrize(
    "error", [OfflineModeIsEnabled("offline"), ConnectionError("no route"), RuntimeError("the transport's own")]
)
def test_offline_the_cached_snapshot_stands_in(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", _raise(error))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--someone--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = shutil.copytree(model_folder, repository / "snapshots" / COMMIT)

    source = resolve_model("someone/small")

    assert source.fingerprint == f"hub:someone/small@{COMMIT}"
    assert source.location == str(snapshot)
    assert source.public_name == source.hub_id == "someone/small"


def test_offline_and_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", _raise(ConnectionError("no route\nto host")))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    with refused("someone/small", "no route"):
        resolve_model("someone/small")


def test_not_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", _raise(_hub_error(RepositoryNotFoundError)))

    with refused("someone/none", "hub id"):
        resolve_model("someone/none")


def test_gated_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    _hub(monkeypatch, "config.json", "model.safetensors", gated="manual")
    monkeypatch.setattr(huggingface_hub, "auth_check", _raise(_hub_error(GatedRepoError)))

    with pytest.raises(InputError, match=r"gated.*hf auth login"):
        resolve_model("someone/gated")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["model.gguf"], "no config.json"),
        (["config.json", "pytorch_model.bin"], "pickle.*convert it to safetensors"),
        (["config.json"], "no safetensors files"),
    ],
)
def test_hub_models_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, files: list[str], message: str) -> None:
    _hub(monkeypatch, *files)

    with pytest.raises(InputError, match=message):
        resolve_model("someone/other")


@pytest.mark.parametrize("model", ["/no/such/folder", "./nothing", "a/b/c", "bad id!", "~/nothing", "C:\\model"])
def test_what_is_neither_a_path_nor_a_hub_id(model: str) -> None:
    with refused("hub id", "folder", ".gguf", "package:NAME"):
        resolve_model(model)


@pytest.mark.parametrize("model", ["", "  "])
def test_an_empty_name(model: str) -> None:
    with pytest.raises(InputError, match="empty"):
        resolve_model(model)


def test_a_missing_gguf(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        resolve_model(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_file_that_is_no_gguf(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"something")

    with pytest.raises(InputError, match="is not a GGUF file"):
        resolve_model(str(tmp_path / name))


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config.json; give a"):
        resolve_model(str(tmp_path))


def test_a_folder_with_a_gguf_only(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()

    with refused("config.json", "small.gguf"):
        resolve_model(str(tmp_path))


def test_a_folder_with_pickled_weights_only(model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")

    with pytest.raises(InputError, match=r"pickle.*convert it to safetensors"):
        resolve_model(str(model_folder))


def test_a_folder_without_weights(model_folder: Path) -> None:
    (model_folder / "model.safetensors").unlink()

    with pytest.raises(InputError, match="no safetensors files"):
        resolve_model(str(model_folder))
