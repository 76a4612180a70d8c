import shlex
from typing import Any

from optishear.parameters import Pipeline
from optishear.recipes.recipe import Recipe
from optishear.report.reproduce import command


def flags(text: str) -> dict[str, str]:
    words = shlex.split(text.replace("\\\n", " "))
    return dict(zip(words[2::2], words[3::2], strict=True))


def test_run_is_told_from_what_the_file_holds(metrics: dict[str, Any], recipe: Recipe) -> None:
    text = command(metrics, recipe)
    assert text.startswith("optishear run \\\n    --model HuggingFaceTB/SmolLM2-135M-Instruct")
    assert flags(text) == {
        "--model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "--sparsity": "0.5",
        "--seed": "7",
        "--trials": "300",
        "--windows": "16",
        "--limit": "1000",
        "--tasks": "local_boolq,local_arc_easy",
    }


def test_given_parameters_win_and_defaults_secrets_and_folders_stay_out(
    metrics: dict[str, Any], recipe: Recipe
) -> None:
    given = Pipeline(
        model="m", budget="2h", divergences=["kl", "frobenius"], tracking_uri="https://u:password@host", output="x"
    )
    metrics["parameters"] = given.model_dump(mode="json")
    assert flags(command(metrics, recipe)) == {
        "--model": "m",
        "--sparsity": "0.5",
        "--budget": "2h",
        "--divergences": "kl,frobenius",
    }


def test_a_switch_has_no_value(metrics: dict[str, Any], recipe: Recipe) -> None:
    metrics["parameters"] = {"model": "m", "sparsity": "0.5", "trust_remote_code": True}
    assert shlex.split(command(metrics, recipe).replace("\\\n", " "))[4:] == [
        "--trust-remote-code",
        "--sparsity",
        "0.5",
    ]


def test_hostile_names_are_quoted(metrics: dict[str, Any], recipe: Recipe) -> None:
    metrics["model"] = "x; rm -rf ~ $(id)"
    assert flags(command(metrics, recipe))["--model"] == "x; rm -rf ~ $(id)"
    assert "'x; rm -rf ~ $(id)'" in command(metrics, recipe)


def test_without_a_search_the_recipe_was_carried_over(metrics: dict[str, Any], recipe: Recipe) -> None:
    del metrics["search"]
    text = command(metrics, recipe)
    assert text.startswith("optishear transfer")
    assert flags(text)["--recipe"] == "recipe.yaml"
    assert "--trials" not in text
