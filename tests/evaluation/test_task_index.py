"""Files in the user's folder of tasks that lm-eval would pass over."""

from pathlib import Path

import pytest
import yaml

from optishear.evaluation.task_files import load_tasks
from optishear.evaluation.task_index import check_task_files
from task_folder import TASK, TaskFolder
from wording import refused

BROKEN = "task: boolq\ndataset_path: json\n  output_type: loglikelihood\n"


def test_a_file_that_cannot_be_read(task_folder: TaskFolder) -> None:
    file = task_folder.path / "boolq.yaml"
    file.write_text(BROKEN)

    with refused(file, "line 3"):
        load_tasks(["boolq"], task_folder.path)


def test_a_broken_file_beside_the_task_that_is_asked_for(task_folder: TaskFolder) -> None:
    (task_folder.path / "boolq.yaml").write_text(BROKEN)

    with refused("boolq.yaml"):
        load_tasks([task_folder.add("parity")], task_folder.path)


@pytest.mark.parametrize(
    ("names", "bad"),
    [
        ({"group": ["arithmetic"], "task": "arithmetic_1dc"}, "['arithmetic']"),
        ({"task": ["a", "b"]}, "['a', 'b']"),
        ({"task": 2024}, "2024"),
        ({"tasks": "boolq"}, "'task'"),
    ],
)
def test_a_task_without_a_name_that_can_be_indexed(task_folder: TaskFolder, names: dict[str, object], bad: str) -> None:
    task_folder.write("own", {**TASK, **names})

    with pytest.raises(ValueError, match=r"own\.yaml") as caught:
        check_task_files(task_folder.path)
    assert bad in str(caught.value)


def test_two_files_of_one_name(task_folder: TaskFolder) -> None:
    task_folder.write("first", {**TASK, "task": "parity"})
    task_folder.write("second", {**TASK, "task": "parity"})

    with refused("first.yaml", "second.yaml", "'parity'"):
        check_task_files(task_folder.path)


def test_a_file_whose_ending_is_not_read(task_folder: TaskFolder) -> None:
    (task_folder.path / "boolq.yml").write_text(yaml.safe_dump({**TASK, "task": "boolq"}))

    with refused("boolq.yml", ".yaml"):
        check_task_files(task_folder.path)


def test_an_include_that_is_not_there(task_folder: TaskFolder) -> None:
    task_folder.write("own", {"include": "base.yaml", "task": "own"})

    with refused("own.yaml", "base.yaml"):
        check_task_files(task_folder.path)


def test_included_files_and_other_yaml_may_be_there(task_folder: TaskFolder) -> None:
    task_folder.write("base", TASK)
    task_folder.write("own", {"include": "base.yaml", "task": "own"})
    task_folder.write("pair", {"group": "pair", "task": ["own"]})
    task_folder.write("notes", {"author": "me"})
    (task_folder.path / "list.yaml").write_text("- 1\n")
    (task_folder.path / "docker-compose.yml").write_text("services: {}\n")

    check_task_files(task_folder.path)


@pytest.mark.parametrize("folder", ["bad_indent", "old_group"])
def test_the_shared_case(folder: str) -> None:
    case = Path(__file__).parents[3] / "shared/cases/03-own-task-file-skipped"
    if not case.is_dir():
        pytest.skip("the shared cases are not here")
    with refused(next((case / folder).glob("*.yaml"))):
        check_task_files(case / folder)
