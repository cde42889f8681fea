"""What encoding a text is in, told by its byte-order mark: of files of events, settings, tokens and secrets."""

import codecs
from pathlib import Path

__all__ = ["LONGEST_MARK", "marked_encoding", "read_text"]

_MARKS = (
    # UTF-32 first: in its little-endian form its mark begins like that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
LONGEST_MARK = 4
"""Bytes that are needed to tell."""


def marked_encoding(first: bytes) -> tuple[bytes, str]:
    """Return the byte-order mark that a text begins with, and its encoding; no mark: UTF-8."""
    return next(((mark, encoding) for mark, encoding in _MARKS if first.startswith(mark)), (b"", "utf-8"))


def read_text(path: Path) -> str:
    """Return the text of a small file, without its byte-order mark.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is in another encoding than its mark says, or in none of ours.
    """
    data = path.read_bytes()
    mark, encoding = marked_encoding(data)
    return data[len(mark) :].decode(encoding)
