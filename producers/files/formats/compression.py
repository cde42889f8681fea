"""What is compressed is told by its first bytes, whatever the file is called, and read as it was before."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO, NamedTuple

import zstandard

from producers.files.formats.conversion import converted, taken_apart

__all__ = ["COMPRESSED_SUFFIXES", "decompressed", "without_compression"]


class _Kind(NamedTuple):
    name: str
    first_bytes: bytes
    open: Callable[[], Any]


KINDS = (
    _Kind("gzip", b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    _Kind("zstd", b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
    _Kind("bzip2", b"BZh", bz2.BZ2Decompressor),
    _Kind("xz", b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)
COMPRESSED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz")

NO_TEXT = (
    (b"PK\x03\x04", "a zip archive (an Excel workbook is one too): unzip -p FILE | millstream produce -"),
    (b"PAR1", "parquet: say so with --format parquet"),
    (b"Obj\x01", "Avro, which is not read: convert it to parquet or JSON lines"),
    (b"ORC", "ORC, which is not read: convert it to parquet"),
    (b"SQLite format 3\x00", "an SQLite database: export the table as CSV"),
    (b"\x04\x22\x4d\x18", "lz4, which is not read: lz4 -dc FILE | millstream produce -"),
)
"""First bytes of what is taken for text by mistake, and what to do."""
LONGEST = 16


def decompressed(stream: BinaryIO) -> BinaryIO:
    """Return the bytes behind gzip, zstd, bzip2 or xz, several layers of them too; others as they are.

    Reading raises `ValueError` where the compressed data is damaged or cut off.

    Raises:
        ValueError: the first bytes are those of something that is no text.
    """
    first, stream = taken_apart(stream, LONGEST)
    for kind in KINDS:
        if first.startswith(kind.first_bytes):
            return decompressed(converted(stream, _Decompression(kind)))
    for first_bytes, what in NO_TEXT:
        if first.startswith(first_bytes):
            raise ValueError(f"the first bytes say {what}")
    return stream


def without_compression(path: PurePath) -> PurePath:
    """Return the path without the ending of a compression: `events.csv` for `events.csv.gz`."""
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path


class _Decompression:
    """One or more members (frames, streams) of a kind, one behind the other."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind
        self._member = kind.open()
        self._is_between = False

    def feed(self, chunk: bytes) -> bytes:
        parts = []
        try:
            while chunk:
                if self._is_between:
                    chunk = chunk.lstrip(b"\0")  # tapes and blocks pad with these
                    if not chunk:
                        break
                    self._member, self._is_between = self._kind.open(), False
                parts.append(self._member.decompress(chunk))
                self._is_between = bool(self._member.eof)
                chunk = self._member.unused_data if self._is_between else b""
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise ValueError(f"the {self._kind.name} data is damaged: {error}") from error
        return b"".join(parts)

    def finish(self) -> bytes:
        if not self._is_between:
            raise ValueError(f"the {self._kind.name} data is cut off: it ends in the middle")
        return b""
