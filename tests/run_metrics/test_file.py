"""``metrics.json``: the numbers survive the file, and a file of another shape is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from optishear.errors import InputError
from optishear.json_file import write_json
from optishear.run_metrics.file import read_metrics
from optishear.run_metrics.schema import EvaluationMetrics, RunMetrics, SweepMetrics

from .samples import changed, make_metrics, metrics_values


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_a_run_survives_the_file(tmp_path: Path) -> None:
    metrics = changed(
        make_metrics(wanda=math.inf),
        {
            "masked": make_metrics().pruned.model_dump(),
            "times": [{"stage": "search", "expected_seconds": 3.0, "seconds": 4.0, "cached": False}],
            "registered": {"name": "m", "version": "3", "champion": True, "reason": "Promoted."},
        },
    )
    write_json(tmp_path / "metrics.json", metrics)
    assert read_metrics(tmp_path / "metrics.json", RunMetrics) == metrics
    text = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert text["wanda"]["perplexity"] == "inf"
    assert text["coverage"]["prunable_share"] == 1.0
    assert text["schema_version"] == 1


def test_sections_that_are_not_given_are_not_written(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", make_metrics())
    text = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert not {"masked", "experts", "reconstruction", "times", "registered"} & set(text)


def test_what_was_not_measured_is_written_as_null(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", make_metrics(dense=None))
    text = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert text["dense"]["perplexity"] is None


def test_a_sweep_survives_the_file(tmp_path: Path) -> None:
    sweep = SweepMetrics(model="m", parameters={}, sparsities={"0.5": make_metrics()}, failures={"2:4": "no memory"})
    write_json(tmp_path / "metrics.json", sweep)
    assert read_metrics(tmp_path / "metrics.json", SweepMetrics) == sweep


def test_a_file_that_states_no_version_is_of_the_first(tmp_path: Path) -> None:
    values = metrics_values()
    del values["schema_version"]
    assert read_metrics(write(tmp_path / "metrics.json", values), RunMetrics) == make_metrics()


@pytest.mark.parametrize(
    ("values", "kind", "named"),
    [
        ({**metrics_values(), "schema_version": 2}, RunMetrics, "schema version 2"),
        ({**metrics_values(), "schema_version": "x"}, RunMetrics, "schema version 'x'"),
        ({**metrics_values(), "surplus": 1}, RunMetrics, "surplus"),
        ({**metrics_values(), "achieved_sparsity": "half"}, RunMetrics, "achieved_sparsity"),
        (metrics_values(), SweepMetrics, "sparsities"),
        (metrics_values(), EvaluationMetrics, "evaluation"),
        ([1], RunMetrics, "no mapping"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, values: Any, kind: type[RunMetrics], named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_metrics(write(tmp_path / "metrics.json", values), kind)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{", encoding="utf-8")
    for name in ("metrics.json", "absent.json"):
        with pytest.raises(InputError, match="cannot be read"):
            read_metrics(tmp_path / name, RunMetrics)


def test_a_repeated_run_has_the_same_metrics() -> None:
    first = changed(make_metrics(), {"times": [{"stage": "search", "expected_seconds": 3.0}]})
    second = changed(make_metrics(), {f"stages.{name}.cached": True for name in first.stages})
    assert first.repeatable() == second.repeatable()
    assert first.repeatable().stages["search"].seconds == first.stages["search"].seconds
