"""The plan of a night is read whole, and refused in one sentence."""

from pathlib import Path

import pytest

from flows.shared.nightly_plan import read_plan
from optishear.errors import InputError

SHIPPED = Path(__file__).parents[3] / "configurations" / "nightly.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def test_the_shipped_plan_has_several_models_and_sparsities() -> None:
    runs = read_plan(SHIPPED)
    assert len({run.parameters.model for run in runs}) > 1
    assert len({run.parameters.sparsity for run in runs}) > 1
    assert len({run.parameters.output for run in runs}) == len(runs)


def test_defaults_hold_for_all_and_a_run_overrides_them(tmp_path: Path) -> None:
    text = "defaults: {output: night, trials: 9}\nruns:\n- {model: a/b, sparsity: '2:4'}\n- {model: a/c, trials: 3}\n"
    first, second = read_plan(write(tmp_path, text))
    assert (first.name, second.name) == ("b 2:4", "c 0.5")
    assert (first.parameters.trials, second.parameters.trials) == (9, 3)
    assert (first.parameters.output, second.parameters.output) == (Path("night/b-2-4"), Path("night/c-0.5"))


def test_a_run_may_name_its_own_folder(tmp_path: Path) -> None:
    (run,) = read_plan(write(tmp_path, "defaults: {output: night}\nruns: [{output: here}]\n"))
    assert run.parameters.output == Path("here")


def test_folders_are_resolved_once_for_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = 0
    resolve = Path.resolve

    def count(path: Path, strict: bool = False) -> Path:
        nonlocal resolved
        resolved += 1
        return resolve(path, strict)

    monkeypatch.setattr(Path, "resolve", count)
    counts = []
    for runs in (5, 20):
        plan = write(tmp_path, "runs:\n" + "".join(f"- {{output: night/{number}}}\n" for number in range(runs)))
        resolved = 0
        assert len(read_plan(plan)) == runs
        counts.append(resolved)
    assert counts[1] <= 4 * counts[0]


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (("a", "b", "a"), "write to 'a'; give one of them"),
        (("a", "b", "b/c/d"), "write to 'b/c/d', which is within 'b'; give one of them"),
        (("a/b", "a"), "write to 'a/b', which is within 'a'; give one of them"),
        (("a", "x/../a"), "write to 'a'; give one of them"),
    ],
)
def test_runs_that_write_into_one_folder_are_refused(outputs: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    text = "runs:\n" + "".join(f"- {{output: {output}}}\n" for output in outputs)
    with pytest.raises(InputError, match=sentence):
        read_plan(write(tmp_path, text))


def test_folders_beside_each_other_are_fine(tmp_path: Path) -> None:
    plan = write(tmp_path, "runs: [{output: night/a}, {output: night/ab}, {output: night/b/a}]\n")
    assert len(read_plan(plan)) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "needs runs, a list of mappings"),
        ("runs: []", "needs runs, a list of mappings"),
        ("runs: [a/b]", "needs runs, a list of mappings"),
        ("models: [a/b]", "has the key 'models'; the known ones are defaults and runs"),
        ("defaults: [1]\nruns: [{}]", "are no mapping"),
        ("runs: [{}, {sparsity: 1.5}]", r"In run 2 of '.*plan.yaml': The sparsity '1.5'"),
        ("runs: [{sparsity: 2:4}]", "what YAML makes of 2:4 without quotes"),
        ("runs: [{sparsty: 0.5}]", r"In run 1 of '.*plan.yaml': There is no parameter 'sparsty'"),
        ("runs: [{trials: 3}, {trials: 4}]", "write to '.*'; give one of them its own output"),
        ("runs: [", "cannot be read as YAML"),
    ],
)
def test_a_bad_plan_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_plan(write(tmp_path, text))
    assert "\n" not in str(caught.value)
