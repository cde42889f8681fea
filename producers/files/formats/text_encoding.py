"""The encoding of a text is told by its byte-order mark; whoever reads on gets UTF-8 without one."""

import codecs
from typing import BinaryIO

from producers.files.formats.conversion import Prefixed, converted, taken_apart
from stream.wire.text_encoding import LONGEST_MARK, marked_encoding

__all__ = ["as_utf8"]


def as_utf8(stream: BinaryIO) -> BinaryIO:
    """Return the text of a stream in UTF-8 without a byte-order mark; without a mark it is UTF-8 already.

    Reading raises `ValueError` where UTF-16 or UTF-32 is damaged.
    """
    first, stream = taken_apart(stream, LONGEST_MARK)
    mark, encoding = marked_encoding(first)
    if not mark:
        return stream
    unmarked = converted(stream, Prefixed(mark))
    return unmarked if encoding == "utf-8" else converted(unmarked, _Recoding(encoding))


class _Recoding:
    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")

    def feed(self, chunk: bytes) -> bytes:
        return self._decoder.decode(chunk).encode()

    def finish(self) -> bytes:
        return self._decoder.decode(b"", final=True).encode()
