"""Rows of parquet, CSV and JSONL files, one after the other, with the number a person finds them by."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from producers.files.opening import expecting
from stream.errors import ConfigError

__all__ = ["BadRow", "FORMATS", "Row", "Table", "column_names", "num_rows", "read_rows", "table_in"]

Row = dict[str, Any]
ROWS_PER_BATCH = 4096
"""Rows of a parquet file held as Python values at a time."""
FORMATS = ("parquet", "csv", "tsv", "jsonl")
SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


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


def table_in(path: Path, format: str | None = None) -> Table:
    """Return the table in a file.

    Args:
        path: the file.
        format: one of `FORMATS`; None: what the ending of the file says, in small or capital letters.

    Raises:
        ConfigError: there is no such file, or its format is not known.
    """
    found = format or SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    return Table(str(path), found, path)


def read_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every row with its number.

    Numbers are those an editor shows: lines of a text file, and 1, 2, 3… of a parquet file. A row that cannot even be
    split into columns comes as a `BadRow`, so that the reader decides whether to go on.

    Raises:
        ConfigError: the file cannot be opened, or is damaged where no single row is to blame.
    """
    return _READERS[table.format](table)


def column_names(table: Table) -> list[str] | None:
    """Return the columns of a file; None for JSON lines, where every line names its own.

    Raises:
        ConfigError: see `read_rows`; or a column is there twice.
    """
    if table.format == "jsonl":
        return None
    if table.format == "parquet":
        return _unique(list(_open_parquet(table).schema_arrow.names), table)
    with _opened(table) as file:
        return _header(_csv_reader(file, table), table)


def num_rows(table: Table) -> int | None:
    """Return how many rows there are when the file says so, else None."""
    return int(_open_parquet(table).metadata.num_rows) if table.format == "parquet" else None


def _parquet_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    number = 0
    file = _open_parquet(table)
    with expecting("a whole parquet file", table.name, pa.ArrowException, OverflowError):
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            names = batch.schema.names
            columns = [_python_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))


def _csv_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    with _opened(table) as file:
        reader = _csv_reader(file, table)
        names = _header(reader, table)
        while (values := _next_line(reader, table)) is not None:
            if len(values) == len(names):
                yield reader.line_num, dict(zip(names, values, strict=True))
            elif values:  # an empty line is no row
                problem = f"expected {len(names)} columns, got {len(values)}"
                yield reader.line_num, BadRow(f"{table.name}:{reader.line_num}: {problem}")


def _jsonl_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with _opened(table) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield number, BadRow(f"{table.name}:{number}: expected one JSON object a line: {error}")


_READERS: dict[str, Callable[[Table], Iterator[tuple[int, Row | BadRow]]]] = {
    "parquet": _parquet_rows,
    "csv": _csv_rows,
    "tsv": _csv_rows,
    "jsonl": _jsonl_rows,
}


@contextmanager
def _opened(table: Table) -> Iterator[BinaryIO]:
    with expecting("a file that can be read", table.name):
        if not isinstance(table.source, Path):
            yield table.source
            return
        with table.source.open("rb") as file:
            yield file


def _open_parquet(table: Table) -> Any:
    if not isinstance(table.source, Path):
        raise ConfigError(f"{table.name}: expected csv, tsv or jsonl; parquet is read from files only")
    with expecting("a parquet file", table.name, pa.ArrowException):
        return pq.ParquetFile(table.source)


def _python_values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's own times end at microseconds, and our events at milliseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())


def _csv_reader(file: BinaryIO, table: Table) -> Any:
    # Bytes that are no UTF-8 go through as they are: only the row that has them is bad, and only where they are used.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    return csv.reader(text, delimiter="\t" if table.format == "tsv" else ",")


def _header(reader: Any, table: Table) -> list[str]:
    names = _next_line(reader, table) or []
    with expecting("column names in UTF-8 (iconv converts a file)", f"{table.name}:1"):
        for name in names:
            name.encode()
            if "\0" in name:
                raise ValueError(f"{name!r:.60} looks like UTF-16")
    return _unique(names, table)


def _unique(names: list[str], table: Table) -> list[str]:
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise ConfigError(f"{table.name}: expected every column once, got {', '.join(repeated)} more than once")
    return names


def _next_line(reader: Any, table: Table) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise ConfigError(f"{table.name}:{reader.line_num}: {error}") from error
