"""A process that is killed at any step leaves the output folder of before or the new one, and nothing beside it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.shared import output_layout
from flows.shared.output_layout import lay_out, recover_layout, staged
from flows.shared.output_record import RECORD, OutputRecord, read_record, written_files
from optishear import exchange as exchange_module
from optishear import files
from optishear.leftovers import aside_path
from wording import refused

FORMER = {"recipe.yaml": "old", "model/weights": "old weights", "model/second": "old", "front/one": "old"}
CURRENT = {"recipe.yaml": "new", "model/weights": "new weights", "report.html": "new"}
OF_USER = {"notes.txt": "mine", "model/mine.gguf": "mine", "other/deep/file": "mine"}
# What changes files, in Python's audit events; the others only read.
CHANGES = ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime", "open", "os.scandir")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders in one step")


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    """The text of each file of a folder but its record."""
    files = (path for path in folder.rglob("*") if path.is_file())
    texts = {path.relative_to(folder).as_posix(): path.read_text() for path in files}
    return {name: text for name, text in texts.items() if Path(name).name != RECORD}


def place(folder: Path, texts: dict[str, str]) -> None:
    """One run, without its lock."""
    folder.mkdir(exist_ok=True)
    recover_layout(folder)
    earlier = read_record(folder)
    with staged(folder) as stage:
        write(stage, texts)
        written = written_files(stage, [path.name for path in stage.iterdir()])
        record = OutputRecord(command="prune", command_line="optishear prune", files=written)
        lay_out(folder, stage, earlier, record, earlier is not None)


def killed(step: int, body: Callable[[], None]) -> bool:
    """Run the body in a process that is killed before its change of this number; whether it came so far."""
    process = os.fork()
    if process == 0:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in CHANGES:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            body()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder with the results of a run, and files of the user."""
    folder = tmp_path / "outputs" / "pruned"
    folder.parent.mkdir()
    place(folder, FORMER)
    write(folder, OF_USER)
    return folder


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that exchanges no folders."""
    for module in (exchange_module, output_layout, files):
        monkeypatch.setattr(module, "exchange", lambda *_: False)


@linux
def test_a_kill_at_any_step_leaves_the_folder_whole(output: Path) -> None:
    outcomes = []
    step = 0
    while killed(step, lambda: place(output, CURRENT)):
        outcomes.append(content(output))
        assert outcomes[-1] in (FORMER | OF_USER, CURRENT | OF_USER)
        recover_layout(output)
        assert content(output) == outcomes[-1]
        assert [path.name for path in output.parent.iterdir()] == ["pruned"]
        place(output, FORMER)
        assert content(output) == FORMER | OF_USER
        step += 1
    assert step > 20
    assert {outcome["recipe.yaml"] for outcome in outcomes} == {"old", "new"}
    assert content(output) == CURRENT | OF_USER


@linux
@pytest.mark.parametrize("beside", [True, False])
def test_the_next_run_finishes_what_moves_one_by_one(
    beside: bool, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one(monkeypatch)
    if not beside:  # as for a mount point
        monkeypatch.setattr(output_layout, "is_exchangeable", lambda _: False)
    found = set()
    step = 0
    while killed(step, lambda: place(output, CURRENT)):
        recover_layout(output)
        assert content(output) in (FORMER | OF_USER, CURRENT | OF_USER), step
        found.add((output / "recipe.yaml").read_text())
        assert [path.name for path in output.parent.iterdir()] == ["pruned"]
        assert {path.name for path in output.iterdir() if path.name.startswith(".")} == {RECORD}
        place(output, FORMER)
        assert content(output) == FORMER | OF_USER
        step += 1
    assert step > 20
    assert found == {"old", "new"}
    assert content(output) == CURRENT | OF_USER


@linux
def test_a_kill_while_the_next_run_finishes_loses_nothing(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one(monkeypatch)
    moves: list[Path] = []

    def refuse(source: Path, final: Path) -> None:
        if moves:
            raise KeyboardInterrupt
        moves.append(final)
        files.move(source, final)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(output_layout, "move", refuse)
        place(output, CURRENT)
    step = 0
    while killed(step, lambda: recover_layout(output)):
        step += 1
        assert step < 200
    assert step > 3
    assert content(output) == CURRENT | OF_USER


@linux
def test_a_reader_always_finds_one_of_the_two(output: Path) -> None:
    """The card never describes other weights than those beside it."""
    place(output, {"model/weights": "0", "model/card": "0"})
    begun = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys\n"
            "seen = 0\n"
            "while seen < 3000:\n"
            "    folder = os.open(sys.argv[1], os.O_RDONLY)\n"
            "    texts = set()\n"
            "    for name in ('model/weights', 'model/card'):\n"
            "        file = os.open(name, os.O_RDONLY, dir_fd=folder)\n"
            "        texts.add(os.read(file, 9)); os.close(file)\n"
            "    os.close(folder)\n"
            "    assert len(texts) == 1, texts\n"
            "    seen += 1\n",
            str(output),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    number = 0
    while begun.poll() is None and number < 30:
        number += 1
        # The former folder stays as it was until the reader is through.
        with staged(output) as stage:
            write(stage, {"model/weights": str(number), "model/card": str(number)})
            written = written_files(stage, ["model"])
            lay_out(output, stage, read_record(output), OutputRecord(command="", command_line="", files=written), True)
            os.rename(stage, output.parent / f"former {number}")
    _, errors = begun.communicate(timeout=60)
    assert begun.returncode == 0, errors


def test_a_folder_in_place_of_a_result_is_refused(output: Path) -> None:
    (output / "report.html").mkdir()
    (output / "report.html" / "mine").write_text("mine")
    with refused("report.html", str(output / "report.html")):
        place(output, CURRENT)
    assert content(output) == FORMER | OF_USER | {"report.html/mine": "mine"}


def test_links_modes_and_empty_folders_of_the_user_stay(output: Path, tmp_path: Path) -> None:
    (output / "empty").mkdir()
    (output / "link").symlink_to("model", target_is_directory=True)
    (output / "broken").symlink_to("nowhere")
    output.chmod(0o750)
    inode = (output / "notes.txt").stat().st_ino
    place(output, CURRENT)
    assert (output / "empty").is_dir()
    assert os.readlink(output / "link") == "model"
    assert os.readlink(output / "broken") == "nowhere"
    assert output.stat().st_mode & 0o777 == 0o750
    assert (output / "notes.txt").stat().st_ino == inode


@linux
def test_what_came_meanwhile_stays(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exchange(first: Path, second: Path) -> bool:
        (output / "late.txt").write_text("mine")
        (output / "notes.txt").unlink()
        (output / "notes.txt").write_text("edited")
        return exchange_module.exchange(first, second)

    monkeypatch.setattr(output_layout, "exchange", exchange)
    place(output, CURRENT)
    assert content(output) == CURRENT | OF_USER | {"late.txt": "mine", "notes.txt": "edited"}


@linux
def test_the_folder_of_a_shell_stays_the_same_one(output: Path) -> None:
    inode = output.stat().st_ino
    with subprocess.Popen(["sleep", "60"], cwd=output) as shell:
        try:
            place(output, CURRENT)
        finally:
            shell.kill()
    assert output.stat().st_ino == inode
    assert content(output) == CURRENT | OF_USER


def test_what_a_living_run_writes_into_a_folder_within_stays(output: Path) -> None:
    living = aside_path(output / "cell", "partial")
    living.mkdir()
    (living / "weights").write_text("half")
    place(output, CURRENT)
    assert (living / "weights").read_text() == "half"
