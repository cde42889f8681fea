"""Promises of reading cells: ids keep their digits, and nothing is told by many words."""

import math
from decimal import Decimal
from typing import Any

import pytest

from producers.files.cells import LEFT_OUT, context_value, event_type, number, to_id


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (" ana ", "ana"),
        ("22423\t", "22423"),
        ("007", "007"),
        (b"pb1", "pb1"),
        (22423.0, "22423"),
        (2**53 + 1, "9007199254740993"),
        (float(2**53 - 1), "9007199254740991"),
        (Decimal(2**70 + 1), "1180591620717411303425"),
        ("   ", None),
        ("NULL", None),
        ("NA", None),
        ("\\N", None),
        (None, None),
        (math.nan, None),
    ],
)
def test_an_id_keeps_its_digits_and_loses_the_blanks_around_it(cell: Any, expected: str | None) -> None:
    assert to_id(cell) == expected


@pytest.mark.parametrize("cell", [float(2**53), -float(2**60), 1.2345678901234568e18])
def test_a_float_that_may_have_lost_digits_is_no_id(cell: float) -> None:
    with pytest.raises(ValueError, match="whose last digits may be lost: store integers or text"):
        to_id(cell)


@pytest.mark.parametrize("cell", [b"\xff\xfe", math.inf, 1.5, {"a": 1}, [1]])
def test_what_is_no_id_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        to_id(cell)


def test_types_of_the_file_are_mapped_and_left_out() -> None:
    types = {"addtocart": "cart", "remove_from_cart": LEFT_OUT}

    assert event_type("addtocart", types) == "cart"
    assert event_type(" view ", types) == "view"
    assert event_type("remove_from_cart", types) == LEFT_OUT
    assert event_type("page_view", {"*": LEFT_OUT}) == LEFT_OUT
    assert event_type("click", {"*": LEFT_OUT}) == "click"
    with pytest.raises(ValueError, match="got 'pv'; say what it means: --map-type pv=TYPE"):
        event_type("pv", types)


def test_numbers_are_read_with_a_decimal_comma_where_it_is_one() -> None:
    assert number("12,75", has_decimal_comma=True) == 12.75
    assert number("1.234,50", has_decimal_comma=True) == 1234.5
    assert number("12.75", has_decimal_comma=True) == 12.75
    assert number("NULL") is None
    with pytest.raises(ValueError, match="expected a number, got '12,75'"):
        number("12,75")


def test_namibia_is_a_country() -> None:
    assert context_value("country", "NA") == "NA"
    assert context_value("country", "NULL") is None
    assert context_value("country", b"GB") == "GB"
