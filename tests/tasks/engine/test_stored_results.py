"""A record planted among Prefect's results runs no code."""

import json
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import PickleSerializer

from tasks.engine.stored_results import SERIALIZER
from tasks.store.artifacts import Reference
from wording import refused


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(result_storage=LocalFileSystem(basepath=str(tmp_path)), serializer=SERIALIZER)


def plant(folder: Path, serializer: dict[str, Any], result: str) -> None:
    """A record as Prefect writes them."""
    record = {"metadata": {"storage_key": "stage", "serializer": serializer}, "result": result}
    (folder / "stage").write_text(json.dumps(record))


def test_a_reference_is_read_back(results: ResultStore) -> None:
    reference = Reference(stage="prune", key="ab12")
    results.write(reference, key="stage")
    again = ResultStore(result_storage=results.result_storage, serializer=SERIALIZER)
    assert again.read("stage").result == reference


def test_no_pickle_is_loaded_whatever_the_record_says(results: ResultStore, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    payload = PickleSerializer().dumps(Planted(marker)).decode()
    plant(tmp_path, {"type": "pickle", "picklelib": "cloudpickle"}, payload)
    with refused("cannot be trusted", "PREFECT_RESULTS_LOCAL_STORAGE_PATH"):
        results.read("stage")
    assert not marker.exists()
    cloudpickle.loads(cloudpickle.dumps(Planted(marker)))
    assert marker.exists()  # the payload does run where it is loaded


@pytest.mark.parametrize(
    "content",
    [{"__class__": "pathlib.PosixPath", "data": "/"}, {"__exc_type__": "builtins.SystemExit", "message": "1"}],
)
def test_no_other_class_is_made(content: dict[str, str], results: ResultStore, tmp_path: Path) -> None:
    plant(tmp_path, {"type": "json"}, json.dumps(content))
    with refused("a type that no stage returns"):
        results.read("stage")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metadata": 1}'])
def test_a_damaged_record_is_one_sentence(text: str, results: ResultStore, tmp_path: Path) -> None:
    (tmp_path / "stage").write_text(text)
    with refused("cannot be trusted"):
        results.read("stage")
