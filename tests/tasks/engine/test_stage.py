"""A stage computes what is missing, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import flow

from optishear.errors import InputError
from optishear.parameters.calibration import CalibrationParameters
from tasks.engine.stage import Stage
from tasks.store.artifacts import Artifact

pytestmark = pytest.mark.usefixtures("prefect_server")


class Count:
    """Two stages, one after the other, that note when they compute."""

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.words = Stage("words", 1, ("sequences",), self._word_inputs, self._write_words)
        self.length = Stage("length", 1, (), self._length_inputs, self._write_length)

    def _word_inputs(self, parameters: CalibrationParameters) -> dict[str, str]:
        return {"text": parameters.calibration}

    def _write_words(self, outputs: Path, parameters: CalibrationParameters) -> None:
        self.computed.append("words")
        (outputs / "words.txt").write_text("word " * parameters.sequences)

    def _length_inputs(self, parameters: CalibrationParameters, words: Artifact) -> dict[str, str]:
        return {"words": words.digest("words.txt")}

    def _write_length(self, outputs: Path, parameters: CalibrationParameters, words: Artifact) -> None:
        self.computed.append("length")
        (outputs / "length.txt").write_text(str(len(words.path("words.txt").read_text())))

    def run(self, **parameters: int | str) -> tuple[Artifact, Artifact]:
        """Run both in a flow; ``computed`` holds what was computed in it."""
        self.computed.clear()

        @flow(name="count")
        def count(group: CalibrationParameters) -> tuple[Artifact, Artifact]:
            words = self.words(group)
            return words, self.length(group, words)

        return count(CalibrationParameters(**parameters))


@pytest.fixture
def count() -> Count:
    return Count()


def test_a_second_run_computes_nothing(count: Count) -> None:
    words, length = count.run()
    assert count.computed == ["words", "length"]
    assert (words.cached, length.cached) == (False, False)
    assert length.path("length.txt").read_text() == str(5 * 32)
    words, length = count.run()
    assert count.computed == []
    assert (words.cached, length.cached) == (True, True)


def test_a_parameter_that_does_not_matter_computes_nothing(count: Count) -> None:
    count.run()
    count.run(sequence_length=8)
    assert count.computed == []


def test_a_parameter_that_matters_computes_what_follows(count: Count) -> None:
    count.run()
    count.run(sequences=2)
    assert count.computed == ["words", "length"]


def test_what_follows_is_kept_where_the_content_is_the_same(count: Count) -> None:
    count.run(calibration="one.txt")
    count.run(calibration="two.txt")
    assert count.computed == ["words"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("other")], ids=["gone", "changed"])
def test_a_lost_artifact_is_computed_again_and_nothing_else(count: Count, damage: Callable[[Path], None]) -> None:
    words, _ = count.run()
    damage(words.path("words.txt"))
    words, length = count.run()
    assert count.computed == ["words"]
    assert (words.cached, length.cached) == (False, True)
    assert words.path("words.txt").read_text() == "word " * 32


def test_another_version_computes_again(count: Count) -> None:
    count.run()
    count.length = Stage("length", 2, (), count._length_inputs, count._write_length)
    count.run()
    assert count.computed == ["length"]


def test_the_store_is_enough_without_a_record_of_prefect(count: Count) -> None:
    made = count.words.make(CalibrationParameters())
    words, _ = count.run()
    assert count.computed == ["length"]
    assert words.key == made.key


def test_bad_input_is_not_tried_again(count: Count) -> None:
    tries = []

    def refuse(outputs: Path, parameters: CalibrationParameters) -> None:
        tries.append(1)
        raise InputError("The file is empty.")

    count.words = Stage("words", 1, ("sequences",), count._word_inputs, refuse)
    with pytest.raises(InputError, match="The file is empty"):
        count.run()
    assert len(tries) == 1


def test_what_may_pass_is_tried_again(count: Count, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.engine.stage.SECONDS_BEFORE_RETRY", [0.0, 0.0])
    tries = []

    def time_out(outputs: Path, parameters: CalibrationParameters) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise TimeoutError("slow hub")
        count._write_words(outputs, parameters)

    count.words = Stage("words", 1, ("sequences",), count._word_inputs, time_out)
    count.run()
    assert len(tries) == 3
