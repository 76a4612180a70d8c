"""The plan of each stage against the bytes that the library's code allocates, for models of 7B and 8B weights."""

import pytest
from memory_table import GIB, MEASURED, needs, shape

from size_runs import peaks

ROWS = [(name, stage) for name, stages in MEASURED.items() for stage in stages]
per_row = pytest.mark.parametrize(("name", "stage"), ROWS)
# The most that a card of 40 GiB, and one of 80 GiB with room for what is not counted, can give.
LIMITS = {"search, activations computed again": 40, "recover, activations computed again": 60}


@per_row
def test_a_plan_is_enough_and_not_much_more(name: str, stage: str) -> None:
    planned, measured = needs(shape(name))[stage].total, peaks(name)[stage]
    assert measured <= planned <= 1.2 * measured


@per_row
def test_the_page_has_the_measured_peaks(name: str, stage: str) -> None:
    assert MEASURED[name][stage] == pytest.approx(peaks(name)[stage] / GIB, abs=0.2)


@pytest.mark.parametrize("stage", LIMITS)
def test_seven_billion_weights_stay_below_the_limit(stage: str) -> None:
    assert peaks("LLaMA-2-7B")[stage] <= LIMITS[stage] * GIB
    assert needs(shape("LLaMA-2-7B"))[stage].total <= LIMITS[stage] * GIB
