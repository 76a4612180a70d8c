"""Durations and sizes, read and written."""

import pytest

from optishear.units import Duration, format_bytes, format_seconds, parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("2w", 1209600), (" 3s ", 3)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == Duration(text.strip(), seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-1h", "infs", "nanm", "1e9h", "10 years", "1H", "1m\n2m", "٣m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("500M", 5 * 10**8), ("20gb", 20 * 10**9), ("1.5KiB", 1536), ("1T", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1", "1X", "1e3", "5 5M"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (2**20, "1.00 MiB"),
        (3 * 2**30, "3.00 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_sizes_for_a_person(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (440, "7 min 20 s"),
        (3600, "1 h"),
        (3 * 3600 + 5 * 60, "3 h 5 min"),
        (2 * 86400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_seconds_for_a_person(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
