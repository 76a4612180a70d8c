"""Whether a long search stays quick and small, and whether many results slow down what works with them.

    python benchmarks/long_and_large.py

A search of 2,000 trials on a tiny random model is logged to MLflow as every search is. The seconds of a trial in the
last quarter and the memory at the end are divided by those of the second quarter, since the first one warms up. The
store, the registry and a night's plan are then measured at ten entries and at many. Beside the seconds stand counts,
which do not depend on the machine: files that are read, and statements that MLflow sends to its database.

All figures of a ratio come from the same process. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

_FOLDER = tempfile.TemporaryDirectory(prefix="long-and-large-")
HOME = Path(_FOLDER.name)
# Before anything reads them.
os.environ["OPTISHEAR_HOME"] = str(HOME)
os.environ.pop("MLFLOW_TRACKING_URI", None)
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psutil
import pyarrow.parquet as pq
from sqlalchemy import event
from sqlalchemy.engine import Engine

import flows  # noqa: F401  sets what Prefect and MLflow read when they are imported
from flows.parameters.pipeline import PipelineParameters
from flows.shared.night_history import Night, new_night
from flows.shared.night_rows import EndedRun, night_rows
from flows.shared.nightly_plan import read_plan
from optishear.json_file import write_json
from optishear.models.precision import given_precision
from optishear.parameters.search import SearchParameters
from optishear.pattern import parse_pattern
from optishear.report.night import NightScores, night_page
from optishear.searching.search import run_search
from optishear.searching.trials import Trial
from optishear.statistics.collect import collect_statistics
from run_metrics.samples import make_metrics
from tasks.registration.champion import Challenger
from tasks.registration.model_versions import register_version
from tasks.store import artifacts as store
from tasks.store.artifacts import Artifact, Request
from tasks.store.cleaning import entries_to_remove, stored_entries
from tasks.tracking.flow_runs import tracked_run
from tasks.tracking.search_metrics import search_metrics
from tasks.tracking.stage_runs import stage_run
from tiny import random_calibration, tiny_model

PRECISION = given_precision("float32")
DATABASE = f"sqlite:///{HOME / 'mlflow.db'}"
PARTS = ("search", "store", "registry", "night")


@dataclass
class Counts:
    """What a body did: statements to a database, and files that were opened for reading, by their names."""

    statements: int = 0
    reads: list[str] = field(default_factory=list)
    seconds: float = 0.0


_counting: list[Counts] = []


def _count_open(name: str, arguments: tuple[object, ...]) -> None:
    if name == "open" and _counting and isinstance(arguments[0], str) and arguments[1] in ("r", "rb"):
        _counting[-1].reads.append(arguments[0])


def _count_statement(*_: object) -> None:
    if _counting:
        _counting[-1].statements += 1


@contextmanager
def counted() -> Iterator[Counts]:
    """Count and time the body."""
    counts = Counts()
    _counting.append(counts)
    started = time.perf_counter()
    try:
        yield counts
    finally:
        counts.seconds = time.perf_counter() - started
        _counting.pop()


def pipeline(folder: Path) -> PipelineParameters:
    """The parameters of a run of a model that only has a name."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return PipelineParameters(model=str(folder), tracking_uri=DATABASE)


def measure_search(trials: int) -> dict[str, float]:
    """Seconds of a trial and memory, quarter by quarter."""
    model, calibration = tiny_model(), random_calibration(8, 32)
    parameters = SearchParameters(
        trials=trials, population=16, search_sequences=2, rounds=1, metric_scope="model", descent_steps=0
    )
    observed = collect_statistics(model, calibration, progress=False)
    process = psutil.Process()
    times: list[tuple[int, float, int]] = []
    journal = HOME / "journal.jsonl"
    tracked = pipeline(HOME / "model")
    request = Request("search", 1, "search-long", {}, {})
    with (
        counted() as counts,
        tracked_run("search", tracked, PRECISION),
        stage_run("search", request),
        search_metrics() as log_best,
    ):
        statements: list[int] = []

        def report(done: list[Trial]) -> None:
            log_best(done)
            times.append((len(done), time.perf_counter(), process.memory_info().rss))
            statements.append(counts.statements)

        result = run_search(
            model,
            {"": calibration},
            observed,
            parameters,
            parse_pattern("0.5"),
            journal=journal,
            on_generation=report,
            progress=False,
        )
    started = time.perf_counter()
    again = run_search(
        model, {"": calibration}, observed, parameters, parse_pattern("0.5"), journal=journal, progress=False
    )
    assert again.recipe == result.recipe
    resumed = time.perf_counter() - started
    pq.write_table(result.trials, HOME / "trials.parquet")
    most = times[-1][0]
    quarters = [
        [each for each in times if quarter * most / 4 < each[0] <= (quarter + 1) * most / 4] for quarter in range(4)
    ]
    trial = [(each[-1][1] - each[0][1]) / (each[-1][0] - each[0][0]) for each in quarters]
    return {
        "trials": most,
        "seconds_of_a_trial": round(statistics.mean(trial), 5),
        "seconds_last_to_second_quarter": round(trial[3] / trial[1], 3),
        "memory_mb": round(times[-1][2] / 2**20, 1),
        "memory_growth_mb_from_second_quarter": round((times[-1][2] - quarters[1][0][2]) / 2**20, 2),
        "statements_of_second_generation": statements[1] - statements[0],
        "statements_of_last_generation": statements[-2] - statements[-3],
        "journal_kb": round(journal.stat().st_size / 1024, 1),
        "resume_seconds_of_a_trial": round(resumed / most, 5),
    }


def checkpoint(key: str) -> Artifact:
    """A small checkpoint in the store."""

    def write(outputs: Path) -> None:
        folder = outputs / "model"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(key.encode() * 100)

    return store.make_once(Request("prune", 1, key, {}, {"recipe": f"recipe of {key}"}), write)


def measure_store(few: int, many: int) -> dict[str, float]:
    """Listing, clearing and looking up, at few and at many results."""

    def at(count: int) -> tuple[Counts, Counts, Counts]:
        for number in range(count):
            checkpoint(f"stored-{number:04d}")
        with counted() as found:
            store.find("prune", "stored-0003")
        with counted() as listed:
            entries = stored_entries()
        assert len(entries) >= count
        with counted() as cleared:
            assert len(entries_to_remove(entries, -1.0, 0)) == len(entries)
        return found, listed, cleared

    (found, listed, _), (found_many, listed_many, cleared) = at(few), at(many)
    return {
        "results": many,
        "files_read_to_find_one": len(found_many.reads),
        "files_read_to_find_one_of_few": len(found.reads),
        "list_seconds": round(listed_many.seconds, 4),
        "list_seconds_of_an_entry_ratio": round(listed_many.seconds / listed.seconds * few / many, 2),
        "clear_seconds": round(cleared.seconds, 4),
    }


def measure_registry(few: int, many: int) -> dict[str, float]:
    """Registering one more version, after few and after many."""
    parameters = pipeline(HOME / "registered-model")
    costs: list[Counts] = []
    for number in range(many):
        pruned = checkpoint(f"version-{number:04d}")
        with tracked_run("pipeline", parameters.model_copy(update={"seed": number}), PRECISION) as run:
            with counted() as cost:
                register_version(
                    run, "large-0.5", pruned, Challenger(30.0 - number / many, 20.0, None, "text"), parameters, {}, ""
                )
            costs.append(cost)
    early, late = costs[few - 5 : few], costs[-5:]
    return {
        "versions": many,
        "statements": round(statistics.median(cost.statements for cost in late)),
        "statements_after_few": round(statistics.median(cost.statements for cost in early)),
        "seconds": round(statistics.median(cost.seconds for cost in late), 4),
        "seconds_ratio": round(
            statistics.median(cost.seconds for cost in late) / statistics.median(cost.seconds for cost in early), 2
        ),
    }


def measure_night(few: int, many: int, nights: int) -> dict[str, float]:
    """Reading a plan and writing the page of a night, with few and with many runs after many nights."""
    model = pipeline(HOME / "planned-model").model
    began = datetime(2026, 1, 1, 2, tzinfo=UTC)
    outputs = [HOME / "outputs" / f"{number:03d}" for number in range(many)]
    for folder in outputs:
        folder.mkdir(parents=True)
        write_json(folder / "metrics.json", make_metrics(tasks=False))
    scores = {str(folder.absolute()): NightScores(20.0, 30.0, 25.0) for folder in outputs}
    for number in range(nights):
        Night(flow_run=f"night-{number:04d}", began=began + timedelta(days=number), scores=scores).save()

    def at(count: int) -> tuple[Counts, Counts, int]:
        runs = [{"model": model, "output": str(folder)} for folder in outputs[:count]]
        plan = HOME / f"plan-{count}.yaml"
        plan.write_text(json.dumps({"runs": runs}))  # JSON is YAML
        with counted() as read:
            planned = read_plan(plan)
        night = new_night(f"tonight-{count}")
        with counted() as written:
            rows = night_rows([EndedRun(run) for run in planned], night)
            page = night_page("nightly", rows)
        return read, written, len(page)

    (read, written, _), (read_many, written_many, size) = at(few), at(many)
    share = few / many
    return {
        "runs": many,
        "nights": nights,
        "plan_seconds": round(read_many.seconds, 4),
        "plan_seconds_of_a_run_ratio": round(read_many.seconds / read.seconds * share, 2),
        "page_seconds": round(written_many.seconds, 4),
        "page_seconds_of_a_run_ratio": round(written_many.seconds / written.seconds * share, 2),
        "night_records_read": sum(name.endswith("night.json") for name in written_many.reads),
        "page_kb": round(size / 1024, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trials", type=int, default=2000, help="trials of the search")
    options.add_argument("--many", type=int, default=200, help="results, versions and nights")
    options.add_argument("--runs", type=int, default=50, help="runs of a night")
    options.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="what to measure")
    given = options.parse_args()
    sys.addaudithook(_count_open)
    event.listen(Engine, "before_cursor_execute", _count_statement)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "search": lambda: measure_search(given.trials),
        "store": lambda: measure_store(10, given.many),
        "registry": lambda: measure_registry(10, given.many),
        "night": lambda: measure_night(10, given.runs, given.many),
    }
    figures: dict[str, dict[str, float]] = {}
    for name in given.only:
        figures[name] = parts[name]()
        print(name)
        for figure, value in figures[name].items():
            print(f"  {figure:<40} {value:>12g}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
