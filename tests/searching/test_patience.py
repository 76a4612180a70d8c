"""A worker is waited for many times as long as a candidate takes, and never less than a floor."""

from optishear.metrics.metric import WANDA
from optishear.searching.measuring import Measured, Part, Work
from optishear.searching.patience import LEAST_SECONDS, START_SECONDS, TIMES_SLOWEST, Patience


def work(*sequences: int) -> Work:
    return Work([WANDA], [1], tuple(Part("", 0, count) for count in sequences))


def took(*seconds: float) -> list[Measured]:
    return [Measured([], each) for each in seconds]


def test_before_any_measurement_the_floor_and_the_start_are_waited_for() -> None:
    patience = Patience(times=10, least=60, start=500)
    assert patience.seconds(work(4), is_first=True) == 560
    assert patience.seconds(work(4), is_first=False) == 60


def test_the_slowest_measurement_decides_and_more_sequences_may_take_longer() -> None:
    patience = Patience(times=10, least=60, start=500)
    patience.learn(work(4), took(20))
    patience.learn(work(4), took(8))
    assert patience.seconds(work(4), is_first=False) == 200
    assert patience.seconds(work(8, 4), is_first=False) == 600
    assert patience.seconds(work(4), is_first=True) == 700


def test_on_fewer_sequences_the_wait_is_no_shorter() -> None:
    patience = Patience(times=10, least=60, start=500)
    patience.learn(work(64, 64), took(100, 28))
    assert patience.seconds(work(1), is_first=False) == 1280
    assert patience.seconds(work(), is_first=False) == 1280


def test_fast_candidates_do_not_lower_the_floor() -> None:
    patience = Patience()
    patience.learn(work(4), took(0.01))
    assert patience.seconds(work(4), is_first=False) == LEAST_SECONDS
    patience.learn(work(4), took(LEAST_SECONDS))
    assert patience.seconds(work(4), is_first=True) == TIMES_SLOWEST * LEAST_SECONDS + START_SECONDS
