"""The hub is asked once, local files at every look."""

from pathlib import Path

import pytest

from optishear.models.source import ModelSource
from tasks.store import model_sources as sources
from tasks.store.model_sources import find_model


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def resolve(model: str) -> ModelSource:
        names.append(model)
        fingerprint = f"hub:{model}@abc" if model == "org/model" else "digest"
        return ModelSource(model, model, fingerprint)

    monkeypatch.setattr(sources, "resolve_model", resolve)
    monkeypatch.setattr(sources, "_on_hub", {})
    return names


def test_the_hub_is_asked_once(asked: list[str]) -> None:
    assert find_model("org/model") is find_model("org/model")
    assert asked == ["org/model"]


def test_local_models_are_looked_at_anew(asked: list[str], tmp_path: Path) -> None:
    find_model(str(tmp_path))
    find_model(str(tmp_path))
    assert asked == [str(tmp_path)] * 2
