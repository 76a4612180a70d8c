"""Results as the project's commands lay them out, small."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from evidence_record import Record, save_record

from optishear.evidence.matrix import Matrix
from optishear.file_names import METRICS
from optishear.json_file import write_json
from optishear.pattern import parse_pattern
from optishear.report.export import themed_svg
from optishear.report.heat_map import heat_map
from optishear.run_metrics.schema import RunMetrics, SweepMetrics
from optishear.run_metrics.sweep import sweep_table
from optishear.searching.comparison import compare_searches
from report.samples import make_diagnosis, make_recipe, make_trials
from run_metrics.samples import changed, make_metrics

TITLES = {
    "sweep": "Several sparsities",
    "paper": "The papers' tasks",
    "transplant": "Searched layer ratios with other metrics",
    "compare": "Search algorithms at one budget",
}
HOME = "/home/me/shared"


def metrics_of_run() -> RunMetrics:
    registered = {"name": "smollm2-0.5", "version": "3", "champion": True, "reason": "Promoted."}
    return changed(make_metrics(tasks=False), {"calibration": f"{HOME}/c4.jsonl", "registered": registered})


def make_run(folder: Path, sparsity: str) -> None:
    folder.mkdir(parents=True)
    make_recipe(sparsity).save(folder / "recipe.yaml")
    write_json(folder / METRICS, metrics_of_run())
    pq.write_table(make_trials(), folder / "trials.parquet")
    (folder / "diagnosis").mkdir()
    make_diagnosis().save(folder / "diagnosis")
    (folder / "model").mkdir()
    (folder / "model" / "recipe.yaml").write_text("the checkpoint's own")


def make_sweep(folder: Path, sparsities: tuple[str, ...] = ("0.5", "0.7")) -> None:
    for sparsity in sparsities:
        make_run(folder / sparsity, sparsity)
    metrics = {sparsity: metrics_of_run() for sparsity in sparsities}
    pq.write_table(
        sweep_table({parse_pattern(sparsity): of_one for sparsity, of_one in metrics.items()}), folder / "sweep.parquet"
    )
    write_json(folder / METRICS, SweepMetrics(model="m", parameters={}, sparsities=metrics, failures={}))


def make_compared(folder: Path) -> None:
    folder.mkdir(parents=True)
    searches = {(name, seed): make_trials() for name in ("nsga3", "random") for seed in (0, 1)}
    pq.write_table(compare_searches(searches, "kl"), folder / "algorithms.parquet")


def make_matrix(folder: Path) -> None:
    """A matrix with two heat maps, and a PNG beside each."""
    folder.mkdir(parents=True)
    matrix = Matrix(("uniform", "searched"), ("wanda",), {("uniform", "wanda"): 1.0, ("searched", "wanda"): 0.8}, {})
    figures = []
    for name in ("transplant", "transplant-tasks"):
        (folder / f"{name}.svg").write_text(themed_svg(heat_map(matrix, "multiples", "metric")))
        (folder / f"{name}.png").write_bytes(b"for Prefect")
        figures.append({"file": f"{name}.svg", "title": f"What {name} says", "caption": "Blue is better."})
    (folder / "figures.json").write_text(json.dumps(figures))


def finish(folder: Path, said: str, incomplete: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["optishear", "sweep", "--calibration", f"{HOME}/c4.jsonl"]
    record = Record(command, "2026-01-02", 75, "a machine", "some software", "digest", incomplete)
    save_record(folder, record, said)
