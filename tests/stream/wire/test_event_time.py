"""Promises of telling the units of times apart."""

import pytest

from stream.wire.event_time import likely_unit


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
