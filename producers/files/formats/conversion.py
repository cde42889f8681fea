"""A stream of bytes that is made from another one, chunk by chunk, as soon as they come."""

import io
from typing import Any, BinaryIO, Protocol

__all__ = ["Converter", "Prefixed", "converted", "taken_apart"]

CHUNK_BYTES = 64 * 1024


class Converter(Protocol):
    """Turns chunks into other chunks."""

    def feed(self, chunk: bytes) -> bytes:
        """Return what the next chunk becomes; it may be nothing yet."""

    def finish(self) -> bytes:
        """Return what is left at the end.

        Raises:
            ValueError: the data ends in the middle of something.
        """


def converted(stream: BinaryIO, converter: Converter) -> BinaryIO:
    """Return the stream behind a converter; it is closed with the stream that comes back."""
    return io.BufferedReader(_Converted(stream, converter), CHUNK_BYTES)


def taken_apart(stream: BinaryIO, num_bytes: int) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a stream, fewer only at its end, and a stream that begins with them again."""
    first = b""
    while len(first) < num_bytes and (chunk := _next_chunk(stream, num_bytes - len(first))):
        first += chunk
    return first, io.BufferedReader(_Converted(stream, Prefixed(b""), first), CHUNK_BYTES)


class Prefixed:
    """Hands on what comes, less a prefix that is known to stand at the start."""

    def __init__(self, dropped: bytes) -> None:
        self._left = len(dropped)

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk without what is to be dropped."""
        cut = min(self._left, len(chunk))
        self._left -= cut
        return chunk[cut:]

    def finish(self) -> bytes:
        """Return nothing: all was handed on."""
        return b""


class _Converted(io.RawIOBase):
    def __init__(self, source: BinaryIO, converter: Converter, first: bytes = b"") -> None:
        self._source, self._converter = source, converter
        self._ready = memoryview(first)
        self._is_finished = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._is_finished:
            chunk = _next_chunk(self._source, CHUNK_BYTES)
            self._is_finished = not chunk
            self._ready = memoryview(self._converter.feed(chunk) if chunk else self._converter.finish())
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()


def _next_chunk(stream: BinaryIO, most: int) -> bytes:
    """Return what is there already, so that lines of a pipe come as they are written."""
    read1 = getattr(stream, "read1", stream.read)
    return bytes(read1(most))
