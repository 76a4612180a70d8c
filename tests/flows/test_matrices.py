"""The commands over a matrix, end to end on tiny random models."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from transformers import PreTrainedTokenizerFast

from flows.shared.output_record import RECORD
from optishear.calibration.calibrate import calibrate
from optishear.calibration.calibration_set import CalibrationSet
from optishear.evaluation.perplexity import perplexity, text_windows
from optishear.models.load import LoadedModel, load_model
from optishear.pruning.apply import apply_recipe
from optishear.recipes.recipe import Recipe
from optishear.statistics.collect import collect_statistics
from task_folder import TaskFolder
from tasks.stages import evaluate
from tiny import tiny_model

pytestmark = [pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def settings(home: Path, model_folder: Path, text_file: Path, tmp_path: Path) -> dict[str, Any]:
    """Parameters of a matrix that takes seconds."""
    return {
        "model": str(model_folder),
        "calibration": str(text_file),
        "sequences": 4,
        "sequence_length": 32,
        "device": "cpu",
        "output": str(tmp_path / "output"),
    }


SEARCH = {"search_sequences": 2, "rounds": 1, "trials": 12, "population": 4}
WINDOWS = {"window_length": 64, "windows": 2}


@pytest.fixture
def other_model(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A deeper model of another family."""
    folder = tmp_path / "tiny-opt"
    tiny_model("opt", layers=3, seed=1).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    ratios = {"all": [0.4, 0.6]}
    metrics = {"all": {"space": "power", "activation_exponent": 0.7}}
    Recipe.model_validate({"name": "found", "sparsity": "0.5", "metrics": metrics, "sparsity_ratios": ratios}).save(
        path
    )
    return path


def shown_in_prefect() -> set[tuple[str | None, str | None]]:
    """Key and type of what the pages in Prefect show; of one key it is the latest."""
    with get_client(sync_client=True) as client:
        return {(shown.key, shown.type) for shown in client.read_latest_artifacts()}


def blocks(loaded: LoadedModel, text: Path, count: int) -> CalibrationSet:
    """Blocks of a text for a model, as the settings ask for."""
    return calibrate(loaded.model, loaded.tokenizer, calibration=str(text), sequences=count, sequence_length=32)


def table(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "output" / f"{name}.parquet").to_pylist()
    return rows


def test_transplant_combines_every_metric_with_every_ratios(
    command: Callable[..., None],
    recipe_file: Path,
    text_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command("transplant", recipe=str(recipe_file), evaluation_text=str(text_file), **WINDOWS)
    rows = table(tmp_path, "transplant")
    cells = {(row["ratios"], row["metric"]): row for row in rows}
    assert {ratios for ratios, _ in cells} == {"uniform", "owl", "dlp", "alphapruning", "searched"}
    assert {metric for _, metric in cells} == {
        "magnitude", "wanda", "ria", "pruner_zero", "sparsegpt", "recipe",
    }  # fmt: skip
    assert len(rows) == 30
    for (ratios, metric), row in cells.items():
        assert row["perplexity"] > 1
        assert row["failure"] is None
        assert row["to_uniform"] == pytest.approx(row["perplexity"] / cells["uniform", metric]["perplexity"])
        if ratios != "uniform":
            assert row["to_uniform"] != 1
    assert (tmp_path / "output" / "transplant.png").read_bytes().startswith(b"\x89PNG")
    assert "uniform ratios: owl" in capsys.readouterr().out
    assert shown_in_prefect() >= {("transplant-table", "markdown"), ("transplant", "image")}


def test_a_lost_cell_loses_no_other_and_is_made_alone(
    command: Callable[..., None],
    recipe_file: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments: dict[str, Any] = {
        "recipe": str(recipe_file), "evaluation_text": str(text_file), **WINDOWS,
        "pruning_metrics": ["magnitude", "wanda"], "layer_ratios": ["owl"],
    }  # fmt: skip
    applied: list[str] = []
    applying = evaluate.apply_recipe

    def failing(model: Any, recipe: Recipe, statistics: Any, **options: Any) -> Any:
        applied.append(recipe.name)
        if recipe.name == "wanda" and len(applied) <= 4:
            raise OSError("the disk is full")
        return applying(model, recipe, statistics, **options)

    monkeypatch.setattr(evaluate, "apply_recipe", failing)
    with pytest.raises(SystemExit) as caught:
        command("transplant", **arguments)
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert "1 of 4 cells" in told
    assert "uniform × wanda (the disk is full)" in told
    rows = {(row["ratios"], row["metric"]): row for row in table(tmp_path, "transplant")}
    assert rows["uniform", "wanda"]["failure"] == "the disk is full"
    assert rows["owl", "wanda"]["perplexity"] > 1
    assert rows["owl", "wanda"]["to_uniform"] is None
    assert rows["owl", "magnitude"]["to_uniform"] is not None

    applied.clear()
    applied += ["before"] * 4
    command("transplant", **arguments)
    assert applied[4:] == ["wanda"]
    assert all(row["failure"] is None for row in table(tmp_path, "transplant"))


def test_a_failed_task_is_told_and_tried_again(
    command: Callable[..., None],
    other_model: Path,
    text_file: Path,
    task_folder: TaskFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments: dict[str, Any] = {
        "other_models": [f"opt={other_model}"], "evaluation_text": str(text_file), **SEARCH, **WINDOWS,
        "tasks": [task_folder.add("parity"), task_folder.add_failing("broken", "OSError('no data')")],
        "include_path": str(task_folder.path),
    }  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        command("cross-model", **arguments)
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert "8 of 8 cells" in told
    assert "tiny-llama (broken: OSError: no data)" in told
    rows = table(tmp_path, "cross-model")
    assert all(0 <= row["parity/acc"] <= 1 and row["perplexity"] > 1 for row in rows)
    assert all("broken/acc" not in row and row["failure"] == "broken: OSError: no data" for row in rows)

    task_folder.add("broken")
    command("cross-model", **arguments)
    mended = table(tmp_path, "cross-model")
    assert all(row["broken/acc"] == row["parity/acc"] and row["failure"] is None for row in mended)


def test_cross_model_applies_each_recipe_to_each_model_and_one_to_all(
    command: Callable[..., None],
    other_model: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments: dict[str, Any] = {
        "other_models": [f"opt={other_model}"], "universal": True, "evaluation_text": str(text_file),
        **SEARCH, **WINDOWS,
    }  # fmt: skip
    command("cross-model", **arguments)
    cells = {(row["found_on"], row["applied_to"]): row for row in table(tmp_path, "cross-model")}
    assert [found for found, applied in cells if applied == "opt"] == [
        "tiny-llama", "opt", "universal", "Wanda", "dense",
    ]  # fmt: skip
    for (found, applied), row in cells.items():
        wanda = cells["Wanda", applied]["perplexity"]
        if found == "dense":
            continue
        assert row["to_own"] == pytest.approx(row["perplexity"] / cells[applied, applied]["perplexity"])
        if found != "Wanda":
            assert row["to_wanda"] == pytest.approx(row["perplexity"] / wanda)
    shown = capsys.readouterr().out
    assert "A recipe found on another model gives" in shown
    assert "One recipe searched for all is" in shown
    output = tmp_path / "output"
    assert {path.name for path in output.iterdir()} == {
        RECORD,
        "cross-model.parquet", "cross-model.html", "cross-model-to-wanda.png", "cross-model-to-own.png",
        "cross-model-to-wanda.svg", "cross-model-to-own.svg", "figures.json", "recipes",
    }  # fmt: skip
    names = {path.stem: Recipe.load(path) for path in (output / "recipes").iterdir()}
    assert set(names) == {"tiny-llama", "opt", "universal"}
    assert set(names["universal"].objectives) >= {"kl/tiny-llama", "kl/opt"}
    figures = json.loads((output / "figures.json").read_text())
    assert [each["file"] for each in figures] == ["cross-model-to-wanda.svg", "cross-model-to-own.svg"]
    assert figures[0]["title"] == "Against Wanda"
    assert figures[0]["caption"].startswith("Each row is a recipe by the model")
    assert "prefers-color-scheme: dark" in (output / "cross-model-to-wanda.svg").read_text()
    page = (output / "cross-model.html").read_text()
    assert "--other-models" in page
    assert page.count("<svg") == 2

    # The library says the same of a recipe on the other model.
    recipe = names["tiny-llama"]
    loaded = load_model(str(other_model))
    observed = collect_statistics(loaded.model, blocks(loaded, text_file, 4), progress=False)
    apply_recipe(loaded.model, recipe, observed)
    windows = text_windows(loaded.tokenizer, text_file.read_text(), 64, 2)
    assert cells["tiny-llama", "opt"]["perplexity"] == perplexity(loaded.model, windows, batch_size=1)

    # At the same time, the same comes out.
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path / "other-home"))
    command("cross-model", "--parallel-cells", "3", **arguments)
    again = {(row["found_on"], row["applied_to"]): row for row in table(tmp_path, "cross-model")}
    assert again == cells


def test_cross_task_evaluates_each_recipe_on_each_text(
    command: Callable[..., None],
    model_folder: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("in the end it is on the other hand that this has no heat and no rest. " * 40)
    command(
        "cross-task", "--parallel-cells", "2",
        other_calibrations=[f"other={other}", "own=self"], held_out_sequences=4, **SEARCH,
    )  # fmt: skip
    cells = {(row["found_on"], row["applied_to"]): row for row in table(tmp_path, "cross-task")}
    names = ["text.txt", "other", "own"]
    assert set(cells) == {(row, column) for row in [*names, "Wanda", "dense"] for column in names}
    assert all(row["perplexity"] > 1 for row in cells.values())

    # The library says the same of the recipe and the calibration of one text on what is held out of another one.
    loaded = load_model(str(model_folder))
    held_out = blocks(loaded, other, 8).tokens[4:]
    assert cells["dense", "other"]["perplexity"] == perplexity(loaded.model, held_out)
    both = blocks(loaded, text_file, 8)
    observed = collect_statistics(loaded.model, CalibrationSet(both.tokens[:4], both.source), progress=False)
    apply_recipe(loaded.model, Recipe.load(tmp_path / "output" / "recipes" / "text.txt.yaml"), observed)
    assert cells["text.txt", "other"]["perplexity"] == perplexity(loaded.model, held_out)

    # One at a time, nothing is different.
    monkeypatch.setenv("OPTISHEAR_HOME", str(tmp_path / "other-home"))
    command("cross-task", other_calibrations=[f"other={other}", "own=self"], held_out_sequences=4, **SEARCH)
    assert cells == {(row["found_on"], row["applied_to"]): row for row in table(tmp_path, "cross-task")}


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("transplant", {"recipe": "wanda"}, "The recipe 'wanda' has no sparsity ratios"),
        (
            "transplant",
            {"evaluation_text": "none", "recipe": "{recipe}"},
            "a matrix compares perplexities; give a text",
        ),
        ("cross-model", {"evaluation_text": "none", "tasks": ["boolq"]}, "a matrix compares perplexities; give a text"),
        ("cross-model", {"reconstruction": "admm"}, "There is no parameter 'reconstruction'"),
        ("cross-model", {"footprint": False}, "There is no parameter 'footprint'"),
        ("cross-model", {"registered_model": "mine"}, "There is no parameter 'registered_model'"),
        ("transplant", {"footprint": False, "recipe": "{recipe}"}, "There is no parameter 'footprint'"),
        ("cross-model", {"other_models": ["Wanda={model}"]}, "A model of the matrix is named 'Wanda'"),
        ("cross-task", {"other_calibrations": ["dense=self"]}, "A text of the matrix is named 'dense'"),
        (
            "cross-model",
            {"other_models": ["x={model}"], "universal": True, "sparsity_budget": "objective"},
            "A search for several models needs sparsity_budget exact",
        ),
        ("cross-model", {}, "A matrix over models needs at least two"),
        ("cross-model", {"other_models": ["{model}"]}, "Two models are named 'tiny-llama'"),
        ("cross-model", {"other_models": ["x={tmp}/missing"], "window_length": 64}, "missing"),
        ("cross-task", {"other_calibrations": ["c4.jsonl"]}, "'c4.jsonl' is not NAME=SOURCE"),
        ("cross-task", {"other_calibrations": ["self={tmp}/no.txt"]}, "no.txt"),
        ("cross-task", {}, "A matrix over texts needs at least two"),
    ],
)
def test_bad_input_is_one_sentence(
    command: Callable[..., None],
    settings: dict[str, Any],
    recipe_file: Path,
    name: str,
    changes: dict[str, Any],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(item) for item in value]
        if not isinstance(value, str):
            return value
        places = {"{tmp}": str(tmp_path), "{model}": settings["model"], "{recipe}": str(recipe_file)}
        return functools.reduce(lambda text, place: text.replace(place, places[place]), places, value)

    given = {key: placed(value) for key, value in changes.items()}
    with pytest.raises(SystemExit) as caught:
        command(name, **given)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
