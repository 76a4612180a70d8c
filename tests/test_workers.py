"""The parameter that says where candidates are measured."""

import pytest

from optishear.parameters.read import read_parameters
from optishear.parameters.search import SearchParameters
from optishear.workers import Workers, parse_workers
from wording import refused


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0, Workers()),
        ("2", Workers(2)),
        (" 16 ", Workers(16)),
        ("auto", Workers(address="auto")),
        ("head:6379", Workers(address="head:6379")),
        ("10.1.2.3:6379", Workers(address="10.1.2.3:6379")),
        ("[fd00::1]:6379", Workers(address="[fd00::1]:6379")),
    ],
)
def test_numbers_and_addresses(written: object, expected: Workers) -> None:
    read = read_parameters(SearchParameters, {"workers": written}).workers
    assert read == expected
    assert parse_workers(str(read)) == read
    assert bool(read) == (written != 0)


@pytest.mark.parametrize(
    "written", ["-1", "1025", "two", "head", "ray://head:10001", "head:6379/x", "2.5", "head:6379 x"]
)
def test_anything_else_is_refused(written: str) -> None:
    with refused("workers", written, "head:6379"):
        read_parameters(SearchParameters, {"workers": written})


def test_a_search_has_none_by_default_and_they_are_no_part_of_its_dump_as_a_number() -> None:
    assert SearchParameters().workers == Workers()
    assert SearchParameters(workers=3).model_dump(mode="json")["workers"] == "3"
