"""What a task asks is the same wherever and however often it is loaded."""

from pathlib import Path

from optishear.evaluation.identity import task_identity
from optishear.evaluation.task_files import load_tasks
from task_folder import TaskFolder


def add(folder: TaskFolder, choices: str) -> None:
    folder.add("parity")
    (folder.path / "parity_utils.py").write_text(f"def choices(doc):\n    return {choices}\n", encoding="utf-8")
    with (folder.path / "parity.yaml").open("a", encoding="utf-8") as file:
        file.write("doc_to_choice: !function parity_utils.choices\nmetadata: {version: 1.0}\n")


def test_functions_count_by_their_source(tmp_path: Path) -> None:
    folders = [TaskFolder(tmp_path / name) for name in ("one", "two", "three")]
    for folder, choices in zip(folders, ('doc["choices"]', 'doc["choices"]', "['even', 'odd!']"), strict=True):
        add(folder, choices)
    # All at once, so that no function can have the address of another.
    tasks = [load_tasks(["parity"], folder.path)["parity"] for folder in (folders[0], *folders)]
    first, again, elsewhere, other = map(task_identity, tasks)
    assert first == again == elsewhere
    assert first["documents"] == other["documents"]
    assert first["config"] != other["config"]
