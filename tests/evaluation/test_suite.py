from pathlib import Path

import pytest

from optishear.errors import InputError
from optishear.evaluation.suite import Suite, find_suite, shipped_suites
from optishear.evaluation.task_files import suites_of
from optishear.parameters.evaluation import EvaluationParameters
from task_folder import TaskFolder
from wording import refused


def test_the_suites_that_ship() -> None:
    assert shipped_suites() == ["knowledge", "math", "paper"]
    assert find_suite("paper").tasks == [
        "wikitext", "boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa",
    ]  # fmt: skip
    assert (find_suite("math").tasks, find_suite("knowledge").tasks) == (["gsm8k"], ["mmlu"])
    assert all(find_suite(name).description for name in shipped_suites())


def test_a_suite_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: [parity]\nfewshot: 2\n")
    assert find_suite(str(tmp_path / "mine.yaml")) == Suite(tasks=["parity"], fewshot=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("tasks: []", "wrong tasks"),
        ("tasks: [a]\nlimit: 3", "wrong limit"),
        ("tasks: [a]\nfewshot: -1", "wrong fewshot"),
        ("- a", "wrong content"),
        ("tasks: [a", "not YAML"),
    ],
)
def test_a_file_that_is_no_suite_is_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        find_suite(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no suite 'papers'; did you mean paper\?"):
        find_suite("papers")
    with refused("xyz", "knowledge", "math", "paper", "YAML"):
        find_suite("xyz")
    with pytest.raises(InputError, match=r"no suite file 'xyz\.yaml'"):
        find_suite("xyz.yaml")


def test_own_task_files_stand_in_for_a_suites_tasks(task_folder: TaskFolder) -> None:
    for name in ("local_boolq", "rte", "local_rte", "other_arc_easy"):
        task_folder.add(name)
    (suite,) = suites_of(EvaluationParameters(suite="paper", include_path=task_folder.path))
    assert suite.tasks == [
        "wikitext", "local_boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa",
    ]  # fmt: skip


def test_tasks_beside_a_suite_and_their_examples_in_the_prompt() -> None:
    suite, named = suites_of(EvaluationParameters(suite="math", tasks=["gsm8k", "boolq"]))
    assert (suite.tasks, suite.fewshot) == (["gsm8k"], 5)
    assert (named.tasks, named.fewshot) == (["boolq"], None)
    assert suites_of(EvaluationParameters(suite="math", fewshot=8))[0].fewshot == 8
    assert suites_of(EvaluationParameters()) == []
