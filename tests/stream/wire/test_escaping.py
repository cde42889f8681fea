"""Text from outside cannot break out of its line, drive a terminal, or turn its neighbours round."""

import pytest

from stream.wire.escaping import printable, printable_bytes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("u-1 Zürich 東京", "u-1 Zürich 東京"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\u202etxt", "\\u202etxt"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_does_not_show_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert len(printable(text).splitlines()) == 1


def test_bytes_that_are_no_text_are_written_out_and_long_ones_are_cut() -> None:
    assert printable_bytes(b"ab\xff\n") == "ab\\xff\\n"
    assert printable_bytes(b"abcdef", 3) == "abc…"
    assert printable_bytes(b"\xff" * 1_000_000, 3) == "\\xf…"
    assert printable_bytes(b"abc", 3) == "abc"
