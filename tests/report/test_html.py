import math
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from optishear.diagnosis.diagnosis import Diagnosis
from optishear.errors import InputError
from optishear.recipes.recipe import Recipe
from optishear.report.figures import run_figures
from optishear.report.html import report, write_report
from optishear.run_metrics.schema import RunMetrics
from run_metrics.samples import changed, make_metrics

from .samples import make_diagnosis, make_recipe, make_trials

HOSTILE = '<script>alert("1")</script>&<img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """The tags, attributes, ids and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")


def page_text(metrics: RunMetrics, recipe: Recipe, trials: pa.Table, diagnosis: Diagnosis | None = None) -> str:
    return report(metrics, recipe, run_figures(metrics, recipe, trials, diagnosis), f"optishear run --model {HOSTILE}")


@pytest.fixture(scope="module")
def text() -> str:
    return page_text(make_metrics(), make_recipe(), make_trials(), make_diagnosis())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_loads_nothing(text: str, page: Page) -> None:
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(page.tags)
    loaded = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset", "data")]
    assert loaded
    assert all(value.startswith("#") for value in loaded)
    assert "@import" not in text
    assert "://" not in text
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_ids_are_unique_over_all_figures(page: Page) -> None:
    ids = [value for name, value in page.attributes if name == "id"]
    assert page.tags.count("svg") == 7
    assert len(ids) == len(set(ids))


def test_verdict_comes_first_then_table_then_pictures_then_recipe(page: Page) -> None:
    order = [
        "the searched recipe gives back 15 % of what Wanda lost.",
        "pruned against Wanda",
        "Dense, Wanda and pruned",
        "Sparsity of each layer",
        "Search progress",
        "Candidates and Pareto front",
        "Error of each layer",
        "Alignment of weights and activations",
        "Weights and activations under the metric",
        "|W| · log(x)",
        "What it took",
        "optishear run",
    ]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)


def test_tables_hold_the_numbers(page: Page) -> None:
    for words in ("0.577 ± 0.011", "−7.8 %", "+0.013", "2 h 37 min", "9.8 s (from the cache)", "3.08 GiB", "50.01 %"):
        assert words in page.text


def test_the_whole_recipe_is_shown(page: Page, recipe: Recipe) -> None:
    assert recipe.to_yaml().strip() in page.text


def test_every_figure_has_a_caption_and_a_name_for_screen_readers(page: Page) -> None:
    captions = [value for name, value in page.attributes if name == "aria-label"]
    assert len(captions) == page.tags.count("figcaption") == 7
    assert all(page.text.count(caption.replace("\N{NO-BREAK SPACE}", " ")) == 1 for caption in captions)


def test_both_themes_are_in_the_style_sheet(text: str) -> None:
    style = text.split("</style>")[0]
    light, dark = style.split("prefers-color-scheme: dark")
    assert "--paper: #ffffff" in light
    assert "--paper: #0d1117" in dark


def test_hostile_names_are_text(metrics: RunMetrics, trials: pa.Table) -> None:
    metrics = changed(
        metrics,
        {
            "model": HOSTILE,
            "calibration": HOSTILE,
            "stages": {HOSTILE: {"seconds": 1.0, "peak_memory_bytes": 1, "cached": False}},
            "pruned.settings.text": HOSTILE,
            "pruned.tasks": {HOSTILE: {"acc": {"value": 0.5, "stderr": 0.1}}},
            "search.objectives": {f"kl/{HOSTILE}": 1.0},
        },
    )
    recipe = make_recipe(scope="linear")
    ratios = {HOSTILE: recipe.sparsity_ratios["mlp.up_proj"], "$b_{$": recipe.sparsity_ratios["mlp.up_proj"]}
    recipe = recipe.model_copy(update={"name": HOSTILE, "sparsity_ratios": ratios})
    page = Page(page_text(metrics, recipe, trials))
    assert "script" not in page.tags
    assert "img" not in page.tags
    # Heading, task rows in the table and in the figure, layer path, stage, settings, objective, recipe, command.
    assert page.text.count('<script>alert("1")</script>') >= 8


@pytest.mark.parametrize("sparsity", ["0.7", "2:4"])
def test_missing_and_infinite_values_are_said_in_words(sparsity: str) -> None:
    metrics = make_metrics(dense=None, wanda=math.inf, pruned=math.nan, tasks=False)
    page = Page(page_text(metrics, make_recipe(sparsity, scope="none"), pa.table({})))
    assert page.tags.count("svg") == 2
    assert all(words in page.text for words in ("infinite", "not a number", "not measured"))
    assert " nan" not in page.text
    assert " inf " not in page.text


def test_a_run_without_perplexity_and_tasks_still_makes_a_page(trials: pa.Table) -> None:
    page = Page(page_text(make_metrics(None, None, None, tasks=False), make_recipe(scope="linear"), trials))
    assert "no perplexity was measured" in page.text
    assert "Perplexity on" not in page.text


def test_single_objective_and_no_rounds() -> None:
    page = Page(page_text(make_metrics(tasks=False), make_recipe(), make_trials(("kl",))))
    assert "in order, with the chosen one" in page.text
    assert "Task" not in page.text


def test_the_file_is_whole_or_not_there(tmp_path: Path, metrics: RunMetrics, recipe: Recipe, trials: pa.Table) -> None:
    figures = run_figures(metrics, recipe, trials)
    write_report(tmp_path / "out" / "report.html", metrics, recipe, figures, "optishear run")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "out" / "report.html" / "x", metrics, recipe, figures, "optishear run")


def test_what_each_format_takes_is_beside_the_dense_model(page: Page) -> None:
    table = " ".join(page.text.split("What the model takes")[1].split("Weights only")[0].split())
    assert "dense model257 MiB257 MiB20.00 " in table
    assert " pruned, dense format257 MiB (× 1.00)" in table
    assert "pruned, bitmask format168 MiB (× 0.654)170 MiB (× 0.659)34.0 (× 1.70)210" in table
    assert "Faster here" in table
    assert "greedy decoding" in page.text
    assert "on the CPU" in page.text


def test_without_footprints_there_is_no_table_of_them(metrics: RunMetrics, trials: pa.Table) -> None:
    metrics = changed(metrics, {"dense.footprint": {}, "pruned.footprint": {}})
    assert "What the model takes" not in page_text(metrics, make_recipe(), trials)
