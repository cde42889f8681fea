"""Promises of telling the units of times apart."""

import pytest

from stream.wire.event_time import FIRST_TIME_MS, LAST_TIME_MS, likely_unit, time_problem


@pytest.mark.parametrize(
    ("count", "unit"),
    [
        (1_700_000_000, "s"),
        (1_700_000_000_000, "ms"),
        (1_796_072_895_000_000, "us"),
        (1_796_072_895_000_000_000, "ns"),
        (99_999_999_999, "s"),
        (100_000_000_000, "ms"),
        (99_999_999_999_999, "ms"),
        (100_000_000_000_000, "us"),
        (0, None),
        (7, None),
        (-1_700_000_000_000, None),
        (10**20, None),
    ],
)
def test_a_number_is_of_the_unit_in_which_it_is_a_time_of_our_era(count: int, unit: str | None) -> None:
    assert likely_unit(count) == unit


@pytest.mark.parametrize(
    ("time_ms", "said"),
    [
        (1_700_000_000, "it looks like seconds"),
        (1_796_072_895_000_000, "it looks like microseconds"),
        (1_796_072_895_000_000_000, "it looks like nanoseconds"),
        (0, "--relative-time"),
        (-1, "--relative-time"),
        (10**30, "--relative-time"),
    ],
)
def test_a_number_that_is_no_time_in_milliseconds_is_told_with_what_it_looks_like(time_ms: int, said: str) -> None:
    assert said in (time_problem(time_ms) or "")


@pytest.mark.parametrize("time_ms", [FIRST_TIME_MS, 1_700_000_000_000, LAST_TIME_MS])
def test_a_time_of_our_era_has_no_problem(time_ms: int) -> None:
    assert time_problem(time_ms) is None
