"""Where rows are and how their format splits them; and the way from there to the bytes of a text."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from producers.files.formats.compression import decompressed, without_compression
from producers.files.formats.text_encoding import as_utf8
from producers.files.opening import expecting
from stream.errors import ConfigError

__all__ = ["FORMATS", "BadRow", "Row", "Table", "format_of", "opened_text", "table_in", "unique"]

Row = dict[str, Any]
FORMATS = ("parquet", "csv", "tsv", "jsonl")
SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}


class BadRow(ConfigError):
    """One row cannot be used; the message says where and why."""


class Table(NamedTuple):
    """Where rows are."""

    name: str
    """As messages call it."""
    format: str
    """One of `FORMATS`."""
    source: Path | BinaryIO
    """A file, or a stream that is open already and can be read once."""
    delimiter: str | None = None
    """What separates the columns of delimited text; None: what the format or the first line says."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of delimited text without a header, empty for one that is not used; None: it has one."""

    @property
    def is_file(self) -> bool:
        """Whether it can be read several times: a pipe that has a name is a stream too."""
        return isinstance(self.source, Path) and self.source.is_file()


def format_of(path: Path) -> str | None:
    """Return the format that the ending of a file says, in small or capital letters, compressed or not; else None."""
    return SUFFIXES.get(without_compression(path).suffix.lower())


def table_in(
    path: Path, format: str | None = None, delimiter: str | None = None, columns: tuple[str, ...] | None = None
) -> Table:
    """Return the table in a file, or in a pipe that has a name.

    Args:
        path: the file.
        format: one of `FORMATS`; None: what the ending of the file says, and CSV where a delimiter is given.
        delimiter: see `Table`.
        columns: see `Table`.

    Raises:
        ConfigError: there is no such file, or its format is not known.
    """
    found = format or format_of(path) or ("csv" if delimiter else None)
    if found is None:
        endings = ", ".join(SUFFIXES)
        raise ConfigError(
            f"{path}: expected a file that ends in {endings} (.gz, .zst, .bz2 and .xz may follow): "
            f"name the format of others with --format"
        )
    with expecting("a file that can be read", path):
        mode = path.stat().st_mode if os.path.lexists(path) else None
    if mode is None:
        raise ConfigError(f"{path}: there is no such file")
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{path}: expected a file, got a folder")
    return Table(str(path), found, path, delimiter, columns)


@contextmanager
def opened_text(table: Table) -> Iterator[BinaryIO]:
    """Open a text for reading as UTF-8, whatever it was compressed and encoded with.

    Raises:
        ConfigError: it cannot be read, or is damaged.
    """
    with expecting("a file that can be read", table.name):
        if not isinstance(table.source, Path):
            yield as_utf8(decompressed(table.source))
            return
        with table.source.open("rb") as file:
            yield as_utf8(decompressed(file))


def unique(names: list[str], name_of_table: str) -> list[str]:
    """Return the names of columns.

    Raises:
        ConfigError: one is there twice; an empty one is no name.
    """
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise ConfigError(f"{name_of_table}: expected every column once, got {', '.join(repeated)} more than once")
    return names
