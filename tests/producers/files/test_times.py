"""Promises of reading times: one number means the same in every notation and format, and units are told apart."""

import re
from decimal import Decimal
from typing import Any

import pytest

from producers.files.event_file import ReadOptions
from producers.files.times import time_ms
from stream.errors import ConfigError


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        ("1593878903.438", "s", 1593878903438),
        (1593878903.438, "s", 1593878903438),
        (Decimal("1593878903.438"), "s", 1593878903438),
        ("1700000000000.0", "ms", 1700000000000),
        ("1.7e12", "ms", 1700000000000),
        ("1.7E+9", "s", 1700000000000),
        ("1569888000123456", "us", 1569888000123),
        ("2019-10-01 00:00:00 UTC", "ms", 1569888000000),
        ("2019-10-01 00:00:00.123456 UTC", "ms", 1569888000123),
        ("2019-10-01T00:00:00 GMT", "ms", 1569888000000),
        ("2019-10-01 02:00:00 +0200", "ms", 1569888000000),
        (b"2019-10-01", "ms", 1569888000000),
        (" 2019-10-01 ", "ms", 1569888000000),
        ("NULL", "ms", None),
        ("NA", "ms", None),
        ("\\N", "ms", None),
        ("  ", "ms", None),
    ],
)
def test_a_time_is_read_in_all_its_notations(cell: Any, unit: str, expected: int | None) -> None:
    assert time_ms(cell, unit) == expected


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        (1700000000, "ms", "got 1700000000, which looks like seconds; say so with --ts-unit s"),
        ("1700000000.5", "ms", "looks like seconds; say so with --ts-unit s"),
        (1796072895000000, "ms", "looks like microseconds; say so with --ts-unit us"),
        (1700000000000, "s", "looks like milliseconds; say so with --ts-unit ms"),
        (1291191960123456789, "us", "looks like nanoseconds; say so with --ts-unit ns"),
        (0, "ms", "which is none of 1973 to 5138; where times count from a start of their own, say --relative-time"),
        (7, "s", "--relative-time"),
        ("1e999999999", "ms", "expected a time in ms, got 1E"),
        (float("inf"), "ms", "expected a time in ms, got inf"),
        ("01/12/2010 08:26", "ms", "2010-12-01 08:26:00 UTC; --ts-format names another form; got '01/12/2010 08:26'"),
        (True, "ms", "got True"),
    ],
)
def test_a_time_of_another_unit_or_form_is_named_with_what_to_say(cell: Any, unit: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        time_ms(cell, unit)


@pytest.mark.parametrize(
    ("cell", "format", "expected"),
    [
        ("29-01-2021 07:01", "%d-%m-%Y %H:%M", 1611903660000),
        ("01/12/2010 08:26", "%d/%m/%Y %H:%M", 1291191960000),
        ("Wed Dec 01 09:26:00 +0100 2010", "%a %b %d %H:%M:%S %z %Y", 1291191960000),
        (20101201, "%Y%m%d", 1291161600000),
        ("NULL", "%Y%m%d", None),
    ],
)
def test_other_forms_of_times_are_named(cell: Any, format: str, expected: int | None) -> None:
    assert time_ms(cell, format=format) == expected


def test_a_time_of_another_form_than_the_named_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a time in the form %d\.%m\.%Y, got '2010-12-01'"):
        time_ms("2010-12-01", format="%d.%m.%Y")


@pytest.mark.parametrize("format", ["dd.mm.yyyy", "%H:%M", "%Q"])
def test_a_form_that_is_no_date_is_refused(format: str) -> None:
    with pytest.raises(ConfigError, match="--ts-format: expected"):
        ReadOptions(ts_format=format)


def test_times_that_count_from_a_start_of_their_own_begin_in_the_year_2000() -> None:
    assert time_ms(0, "s", is_relative=True) == 946684800000  # 2000-01-01
    assert time_ms("86400", "s", is_relative=True) == 946771200000  # 2000-01-02
