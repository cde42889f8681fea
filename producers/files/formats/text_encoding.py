"""The encoding of a text is told by its byte-order mark; whoever reads on gets UTF-8 without one."""

import codecs
from typing import BinaryIO

from producers.files.formats.conversion import Prefixed, converted, taken_apart

__all__ = ["as_utf8"]

MARKS = (
    # UTF-32 first: in its little-endian form its mark begins like that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LONGEST = 4


def as_utf8(stream: BinaryIO) -> BinaryIO:
    """Return the text of a stream in UTF-8 without a byte-order mark; without a mark it is UTF-8 already.

    Reading raises `ValueError` where UTF-16 or UTF-32 is damaged.
    """
    first, stream = taken_apart(stream, LONGEST)
    if first.startswith(codecs.BOM_UTF8):
        return converted(stream, Prefixed(codecs.BOM_UTF8))
    for mark, encoding in MARKS:
        if first.startswith(mark):
            return converted(converted(stream, Prefixed(mark)), _Recoding(encoding))
    return stream


class _Recoding:
    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")

    def feed(self, chunk: bytes) -> bytes:
        return self._decoder.decode(chunk).encode()

    def finish(self) -> bytes:
        return self._decoder.decode(b"", final=True).encode()
