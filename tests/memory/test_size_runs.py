"""The plan of each stage against the bytes that the library's code allocates, for models of 7B and 8B weights."""

import json
from pathlib import Path

import pytest
from filelock import FileLock
from memory_table import GIB, MEASURED, needs, shape

from optishear.files import write_text
from size_runs import peaks

ROWS = [(name, stage) for name, stages in MEASURED.items() for stage in stages]
per_row = pytest.mark.parametrize(("name", "stage"), ROWS)
# The most that cards of 40, of 24 and of 80 GiB can give, with room for what is not counted.
LIMITS = {
    "search, activations computed again": 40,
    "search, the same with the dense copy on the host": 22,
    "recover, activations computed again": 60,
}


Peaks = dict[str, dict[str, int]]


@pytest.fixture(scope="session")
def peaks_of(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Peaks:
    """The measured peaks of the models, which the workers of a test run measure once: it takes minutes."""
    base = tmp_path_factory.getbasetemp()
    folder: Path = base if worker_id == "master" else base.parent
    measured: Peaks = {}
    # Two workers begin with one model each.
    for name in sorted(MEASURED, reverse=worker_id.endswith("1")):
        path = folder / f"peaks-{name}.json"
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                write_text(path, json.dumps(peaks(name)))
        measured[name] = json.loads(path.read_text(encoding="utf-8"))
    return measured


@per_row
def test_a_plan_is_enough_and_not_much_more(name: str, stage: str, peaks_of: Peaks) -> None:
    planned, measured = needs(shape(name))[stage].total, peaks_of[name][stage]
    assert measured <= planned <= 1.2 * measured


@per_row
def test_the_page_has_the_measured_peaks(name: str, stage: str, peaks_of: Peaks) -> None:
    assert MEASURED[name][stage] == pytest.approx(peaks_of[name][stage] / GIB, abs=0.2)


@pytest.mark.parametrize("stage", LIMITS)
def test_seven_billion_weights_stay_below_the_limit(stage: str, peaks_of: Peaks) -> None:
    assert peaks_of["LLaMA-2-7B"][stage] <= LIMITS[stage] * GIB
    assert needs(shape("LLaMA-2-7B"))[stage].total <= LIMITS[stage] * GIB
