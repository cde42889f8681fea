"""Promises of the one rule of ids."""

import pytest

from stream.wire.ids import id_problem


@pytest.mark.parametrize("text", [" ", "\t\n", "\u00a0"])
def test_blanks_alone_are_no_id(text: str) -> None:
    assert id_problem(text, 256) == "expected more than blanks"


@pytest.mark.parametrize(
    ("text", "is_id"), [("€€", True), ("€€a", False), ("1234567", False), ("123456", True), (" a", True)]
)
def test_an_id_has_at_most_so_many_bytes(text: str, is_id: bool) -> None:
    assert (id_problem(text, 6) is None) == is_id
