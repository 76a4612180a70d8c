"""A record says when, by what and from which code the results beside it were made."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import evidence_run
import pytest
from evidence_record import RUN, Record, load_output, load_record, save_record
from evidence_run import lasting_words, run_section
from evidence_sections import Section

TABLE = "| measure | dense |\n| --- | ---: |\n| perplexity | 22.9 |"

# Lays out `value` and ends with `status`, as the flags say.
COMMAND = f"""
import json, pathlib, sys
value, cached, status, output = sys.argv[2], sys.argv[3], int(sys.argv[4]), pathlib.Path(sys.argv[6])
output.mkdir(parents=True, exist_ok=True)
if value:
    stages = {{"search": {{"seconds": 3, "cached": cached == "cached"}}}}
    version = "2" if cached == "cached" else "1"
    metrics = {{"perplexity": value, "stages": stages, "registered": {{"version": version}}, "parameters": {{}}}}
    (output / "metrics.json").write_text(json.dumps(metrics))
if status == 0:
    made = "Nothing had to be computed again." if cached == "cached" else "Done."
    print(f"{{made}} 50 % are zero.\\n\\n" + {TABLE!r} + f"\\n\\n\\nRegistered as version {{cached}} of it.")
    print(f"\\nreport  {{output}}/report.html")
sys.exit(status)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., bool]:
    program = (sys.executable, "-c", COMMAND)

    def run(value: str = "22.9", cached: str = "new", status: int = 0) -> bool:
        section = Section("fake", "A fake", lambda work: ["run", value, cached, str(status)])
        # The flags are of one command, whatever the fake is told to do.
        return run_section(section, tmp_path, program)

    return run


@pytest.fixture
def made_earlier(run: Callable[..., bool], tmp_path: Path) -> Record:
    """The record of a first run, of another day."""
    folder = tmp_path / "fake"
    assert run(cached="cached")
    record = load_record(folder)
    assert record is not None
    earlier = replace(record, date="2020-02-02", seconds=4321, software="commit 0ld")
    save_record(folder, earlier, load_output(folder))
    # What only the first run said and stored.
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["stages"]["search"]["cached"] = False
    metrics["registered"]["version"] = "1"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return earlier


def test_the_words_are_without_places_and_without_what_is_of_one_run() -> None:
    printed = f"Done. 50 % are zero.\n\n{TABLE}\n\n\nRegistered as version 1 of it.\n\nreport  /home/me/report.html\n"
    assert lasting_words(printed) == TABLE
    assert lasting_words("Better everywhere.\n\n| a |\n\nreport  /home/me") == "Better everywhere.\n\n| a |"
    assert lasting_words("") == ""


def test_a_run_is_recorded(run: Callable[..., bool], tmp_path: Path) -> None:
    assert run()
    record = load_record(tmp_path / "fake")
    assert record is not None
    assert record.command == ["optishear", "run", "22.9", "new", "0"]
    assert not record.incomplete
    assert load_output(tmp_path / "fake") == TABLE


def test_a_repetition_from_the_cache_keeps_the_record(
    run: Callable[..., bool], made_earlier: Record, tmp_path: Path
) -> None:
    files = {name: (tmp_path / "fake" / name).read_bytes() for name in (RUN, "said.md")}
    assert run(cached="cached")
    assert json.loads((tmp_path / "fake" / "metrics.json").read_text())["registered"]["version"] == "2"
    assert files == {name: (tmp_path / "fake" / name).read_bytes() for name in files}


def test_a_record_without_a_digest_is_kept_too(run: Callable[..., bool], made_earlier: Record, tmp_path: Path) -> None:
    file = tmp_path / "fake" / RUN
    old: dict[str, Any] = {key: value for key, value in json.loads(file.read_text()).items() if key != "results"}
    file.write_text(json.dumps(old))
    assert run(cached="cached")
    assert load_record(tmp_path / "fake") == made_earlier


def test_new_results_or_a_new_command_are_recorded_anew(
    run: Callable[..., bool], made_earlier: Record, tmp_path: Path
) -> None:
    assert run("30.1", "cached")
    changed = load_record(tmp_path / "fake")
    assert changed is not None
    assert changed.results != made_earlier.results
    assert changed.date > made_earlier.date
    save_record(tmp_path / "fake", replace(changed, date="2020-02-02"), "words")
    assert run("30.1", "new")
    again = load_record(tmp_path / "fake")
    assert again is not None
    assert again.results == changed.results
    assert again.command != changed.command
    assert again.date > "2020-02-02"


def test_a_failure_that_laid_out_results_is_incomplete_and_drops_the_old_words(
    run: Callable[..., bool], made_earlier: Record, tmp_path: Path
) -> None:
    assert not run("30.1", status=1)
    record = load_record(tmp_path / "fake")
    assert record is not None
    assert record.incomplete
    assert load_output(tmp_path / "fake") == ""
    # The same command again, which then makes what is missing.
    assert run("30.1")
    record = load_record(tmp_path / "fake")
    assert record is not None
    assert not record.incomplete
    assert load_output(tmp_path / "fake") == TABLE


def test_a_failure_before_any_result_changes_nothing(
    run: Callable[..., bool], made_earlier: Record, tmp_path: Path
) -> None:
    assert not run("", status=2)
    assert load_record(tmp_path / "fake") == made_earlier
    assert load_output(tmp_path / "fake") == TABLE


def test_a_failure_without_results_leaves_no_record(run: Callable[..., bool], tmp_path: Path) -> None:
    assert not run("", status=2)
    assert load_record(tmp_path / "fake") is None


def test_what_a_section_needs_fails_that_section_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def flags(work: Path) -> list[str]:
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)
        return []

    assert not run_section(Section("fake", "A fake", flags), tmp_path)
    assert "fake: failed before its command" in capsys.readouterr().out
    assert not (tmp_path / "fake").exists()


def test_the_commit_is_of_the_start_and_tells_of_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("one")
    git("add", ".")
    git("commit", "-m", "one")
    monkeypatch.setattr(evidence_run, "ROOT", tmp_path)
    clean = evidence_run.commit()
    change = "import pathlib, sys; pathlib.Path('code.py').write_text('two')"
    change += "; p = pathlib.Path(sys.argv[2]); p.mkdir(); (p / 'metrics.json').write_text('{}')"
    monkeypatch.chdir(tmp_path)
    assert run_section(Section("fake", "A fake", lambda work: []), tmp_path, (sys.executable, "-c", change))
    record = load_record(tmp_path / "fake")
    assert record is not None
    assert record.software.endswith(f"commit {clean}")
    assert evidence_run.commit() == f"{clean}-dirty"
