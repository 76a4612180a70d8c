"""A hub that is slow, answers with errors or sends half a file does not spoil a run, nor the one after it."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drills.tiny_command import Forks, TinyCommand, results
from servers.hub import Fault, Hub, running_hub
from tiny import random_text

pytestmark = pytest.mark.drill
_MODEL, _TEXT = "someone/tiny", "someone/text"
_WEIGHTS = f"/{_MODEL}/resolve/*/model.safetensors"
_FILES = f"/{_MODEL}/resolve/*"
_ROWS = f"/datasets/{_TEXT}/resolve/*/train.jsonl"
# Each is over after a few tries.
_PASSING = {
    "each answer after 3 s": Fault(wait=3, times=1),
    "the first answer for each file after 15 s": Fault(wait=15, times=1, paths=_FILES),
    "500 for 12 s": Fault(status=500, seconds=12),
    "429 for 12 s": Fault(status=429, seconds=12),
    "weights cut off in the middle, twice": Fault(part=0.5, times=2, paths=_WEIGHTS),
    "the first half of the weights as a whole file, once": Fault(part=0.5, short=True, times=1, paths=_WEIGHTS),
    "each file of the model cut off in the middle, once": Fault(part=0.5, times=1, paths=_FILES),
    "rows of the text cut off in the middle, twice": Fault(part=0.5, times=2, paths=_ROWS),
    "the first half of the rows as a whole file, once": Fault(part=0.5, short=True, times=1, paths=_ROWS),
}
# Each stays.
_LASTING = {
    "500 to each request": Fault(status=500),
    "429 to each request": Fault(status=429),
    "no answer to requests for files in time": Fault(wait=15, paths=_FILES),
    "500 for the weights": Fault(status=500, paths=_WEIGHTS),
    "weights cut off in the middle": Fault(part=0.5, paths=_WEIGHTS),
    "the first half of the weights as a whole file": Fault(part=0.5, short=True, paths=_WEIGHTS),
    "500 for the tokenizer's configuration": Fault(status=500, paths=f"/{_MODEL}/resolve/*/tokenizer_config.json"),
    "500 for the rows of the text": Fault(status=500, paths=_ROWS),
    "rows of the text cut off in the middle": Fault(part=0.5, paths=_ROWS),
    "the first half of the rows as a whole file": Fault(part=0.5, short=True, paths=_ROWS),
}
_FLAGS = ("--masks-only",)


@dataclass(frozen=True)
class Setting:
    """A hub, and a command that takes its model and its text from there.

    Attributes:
        hub: with one model and one text.
        command: which has one cache of the hub for all runs.
        cache: that cache.
        well: the results of a run whose hub was well.
    """

    hub: Hub
    command: TinyCommand
    cache: Path
    well: dict[str, bytes]

    def forget(self) -> None:
        """Empty the cache."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def disturbed(self, fault: Fault, folder: Path) -> tuple[int, str]:
        """Exit code and output of a run with an empty cache, whose requests meet a fault; then the hub is well."""
        self.forget()
        self.hub.fail(fault)
        run = self.command.start(folder / "output", folder / "home", *_FLAGS)
        code = run.wait(900)
        asked = sum(self.hub.asked.values())
        self.hub.recover()
        print(f"--- {fault}: {code} after {asked} requests\n{run.said}")
        return code, run.said


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory, forks: Forks, new_mlflow_database: Path) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("hub")
    text = folder / "text"
    text.mkdir()
    rows = [json.dumps({"text": paragraph}) for paragraph in random_text(paragraphs=2_000).split("\n\n")]
    (text / "train.jsonl").write_text("\n".join(rows) + "\n")
    with running_hub({_MODEL: folder / "tiny"}, {_TEXT: text}) as hub:
        cache = folder / "cache"
        here = Forks({**forks.environment, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache)})
        try:
            source = f"hub:{_TEXT}"
            flags = {"model": _MODEL, "calibration": source, "evaluation-text": source}
            command = TinyCommand(folder, here, new_mlflow_database, flags)
            del command.flags["recovery-tokens"]
            run = command.start(folder / "well", folder / "well-home", *_FLAGS)
            assert run.wait() == 0, run.said
            yield Setting(hub, command, cache, results(folder / "well"))
        finally:
            here.stop()


@pytest.mark.parametrize("name", _PASSING)
def test_a_fault_that_passes_is_not_noticed(name: str, setting: Setting, tmp_path: Path, counted: Counter[str]) -> None:
    code, said = setting.disturbed(_PASSING[name], tmp_path)
    counted[f"hub: {name}: exit code {code}"] += 1
    assert code == 0
    assert "Traceback" not in said
    assert results(tmp_path / "output") == setting.well


@pytest.mark.parametrize("name", _LASTING)
def test_a_fault_that_stays_is_one_sentence(name: str, setting: Setting, tmp_path: Path, counted: Counter[str]) -> None:
    code, said = setting.disturbed(_LASTING[name], tmp_path)
    counted[f"hub: {name}: exit code {code}"] += 1
    assert code in (1, 2)
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert setting.hub.url.removeprefix("http://") in sentence or _MODEL in sentence or _TEXT in sentence
    # With what the failed run has left in the caches.
    again = setting.command.start(tmp_path / "output", tmp_path / "home", *_FLAGS)
    assert again.wait() == 0, again.said
    assert results(tmp_path / "output") == setting.well
