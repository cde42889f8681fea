"""Promises of the one rule of byte-order marks."""

from pathlib import Path

import pytest

from stream.wire.text_encoding import marked_encoding, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_is_read_in_the_encoding_that_its_mark_says(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes("pässwörd\n".encode(encoding))

    assert read_text(file) == "pässwörd\n"


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (b"\xff\xfe\x00\x00", (b"\xff\xfe\x00\x00", "utf-32-le")),
        (b"\xff\xfea\x00", (b"\xff\xfe", "utf-16-le")),
        (b"\xfe\xff", (b"\xfe\xff", "utf-16-be")),
        (b"\xef\xbb\xbfa", (b"\xef\xbb\xbf", "utf-8")),
        (b"a", (b"", "utf-8")),
        (b"", (b"", "utf-8")),
    ],
)
def test_marks_are_told_apart(first: bytes, told: tuple[bytes, str]) -> None:
    assert marked_encoding(first) == told


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"p\xe4ss")

    with pytest.raises(UnicodeDecodeError):
        read_text(file)
