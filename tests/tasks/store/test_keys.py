"""What a key depends on, and what it does not."""

from pathlib import Path

from flows.parameters.statistics import StatisticsParameters
from optishear.calibration.text import text_digest
from tasks.stages.parameters import SearchStageParameters
from tasks.store.keys import chosen, content_key, folder_digest

KEY = "search-c8307ff83ecded4111759544876fbe34"


def test_a_key_depends_on_stage_version_parameters_and_inputs() -> None:
    reference = content_key("search", 1, {"seed": 0}, {"model": "a"})
    others = {
        content_key("prune", 1, {"seed": 0}, {"model": "a"}),
        content_key("search", 2, {"seed": 0}, {"model": "a"}),
        content_key("search", 1, {"seed": 1}, {"model": "a"}),
        content_key("search", 1, {"seed": 0}, {"model": "b"}),
        content_key("search", 1, {"seed": 0}, {"statistics": "a"}),
    }
    assert reference not in others
    assert len(others) == 5
    assert reference.startswith("search-")


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert content_key("search", 1, {"a": 1, "b": 2}, {}) == content_key("search", 1, {"b": 2, "a": 1}, {})


def test_only_chosen_parameters_are_taken() -> None:
    parameters = StatisticsParameters(seed=3, device="cuda:1", output=Path("somewhere"))
    assert chosen(parameters, ("seed", "dtype")) == {"seed": 3, "dtype": "auto"}


def test_parsed_values_take_part_as_they_were_written() -> None:
    parameters = SearchStageParameters(budget="90s", sparsity=0.50, search_calibrations=["math=math.txt"])
    assert chosen(parameters, ("budget", "sparsity", "search_calibrations")) == {
        "budget": "90s",
        "sparsity": "0.5",
        "search_calibrations": ["math=math.txt"],
    }


def test_a_file_is_known_by_its_bytes_not_by_its_path(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("words")
    second.write_text("words")
    assert text_digest(str(first)) == text_digest(str(second))
    second.write_text("other words")
    assert text_digest(str(first)) != text_digest(str(second))


def test_a_data_set_is_known_by_its_name() -> None:
    assert text_digest("hub:allenai/c4/en") == "hub:allenai/c4/en"
    assert text_digest("self") == "self"


def test_a_folder_is_known_by_its_files(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    (tasks / "inner").mkdir(parents=True)
    (tasks / "inner" / "boolq.yaml").write_text("task: boolq")
    before = folder_digest(tasks)
    moved = tasks.rename(tmp_path / "moved")
    assert folder_digest(moved) == before
    (moved / "inner" / "boolq.yaml").write_text("task: rte")
    assert folder_digest(moved) != before
    assert folder_digest(None) == ""


def test_a_key_is_that_of_earlier_releases() -> None:
    """Whoever changes it lets every cached stage be computed again."""
    assert content_key("search", 1, {"seed": 0, "name": "é"}, {"model": "a"}) == KEY


def test_chosen_values_are_those_of_json() -> None:
    assert chosen(StatisticsParameters(output=Path("somewhere")), ("output",)) == {"output": "somewhere"}


def test_what_python_has_compiled_is_no_part_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("x = 1")
    before = folder_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "task.pyc").write_bytes(b"compiled")
    assert folder_digest(tmp_path) == before
