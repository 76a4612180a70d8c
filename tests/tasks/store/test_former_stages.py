"""Artifacts of stages that had another name are found under the current one."""

import json
from pathlib import Path

import pytest

from tasks.store import artifacts as store
from tasks.store.artifacts import Request
from tasks.store.former_stages import FORMER_STAGES
from tasks.store.keys import content_key

PARAMETERS, INPUTS = {"sequences": 4, "sparsity": "0.5"}, {"blocks": "abc"}


def request(stage: str) -> Request:
    return Request(stage, 1, content_key(stage, 1, PARAMETERS, INPUTS), PARAMETERS, INPUTS)


@pytest.mark.parametrize("stage", FORMER_STAGES)
def test_an_artifact_is_found_under_the_current_names(home: Path, stage: str) -> None:
    former = FORMER_STAGES[stage]

    def write(outputs: Path) -> None:
        for name in (*former.files, "same.txt"):
            (outputs / name).write_text(f"content of {name}")

    before = store.make_once(request(former.name), write)
    (home / "artifacts" / former.name / ".lock").touch()
    after = store.find(stage, request(stage).key)
    assert after is not None
    assert set(after.outputs) == {*former.files.values(), "same.txt"}
    for name in before.outputs:
        current = former.files.get(name, name)
        assert after.digest(current) == before.digest(name)
        assert after.path(current).read_text() == f"content of {name}"
    assert (after.stage, after.key, after.seconds) == (stage, request(stage).key, before.seconds)
    assert store.make_once(request(stage), lambda outputs: pytest.fail("computed again")) == after
    assert not (home / "artifacts" / former.name).exists()


@pytest.mark.parametrize("record", ["{", "[]", json.dumps({"version": 1})])
def test_a_damaged_artifact_is_dropped(home: Path, record: str) -> None:
    folder = home / "artifacts" / "judge" / "judge-1"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record)
    assert store.find("evaluate-held-out", request("evaluate-held-out").key) is None
    assert not folder.parent.exists()
