"""Rows of parquet, CSV and JSONL files, one after the other, with the number a person finds them by."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stream.errors import ConfigError

__all__ = ["BadRow", "Row", "column_names", "num_rows", "read_rows"]

Row = dict[str, Any]
ROWS_PER_BATCH = 4096
"""Rows of a parquet file held as Python values at a time."""


class BadRow(ConfigError):
    """One row cannot be used; the message says where and why."""


def read_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every row with its number.

    Numbers are those an editor shows: lines of a text file, and 1, 2, 3… of a parquet file. A row that cannot even be
    split into columns comes as a `BadRow`, so that the reader decides whether to go on.

    Raises:
        ConfigError: the file cannot be opened, or its format is not known.
    """
    return _format(path)(path)


def column_names(path: Path) -> list[str]:
    """Return the columns of the file; of JSON lines, the fields of the first one."""
    _format(path)
    if path.suffix == ".parquet":
        return list(_open_parquet(path).schema_arrow.names)
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(_csv_reader(file, path), [])
    return next((list(row) for _, row in read_rows(path) if isinstance(row, dict)), [])


def num_rows(path: Path) -> int | None:
    """Return how many rows there are when the file says so, else None."""
    return int(_open_parquet(path).metadata.num_rows) if path.suffix == ".parquet" else None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    number = 0
    for batch in _open_parquet(path).iter_batches(batch_size=ROWS_PER_BATCH):
        names = batch.schema.names
        columns = [column.to_pylist() for column in batch.columns]
        for values in zip(*columns, strict=True):
            number += 1
            yield number, dict(zip(names, values, strict=True))


def _csv_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = _csv_reader(file, path)
        names: list[str] = next(reader, [])
        while (values := _next_line(reader, path)) is not None:
            if len(values) == len(names):
                yield reader.line_num, dict(zip(names, values, strict=True))
            elif values:  # an empty line is no row
                problem = f"expected {len(names)} columns, got {len(values)}"
                yield reader.line_num, BadRow(f"{path}:{reader.line_num}: {problem}")


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield number, BadRow(f"{path}:{number}: expected one JSON object a line: {error}")


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Row | BadRow]]]] = {
    ".parquet": _parquet_rows,
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".ndjson": _jsonl_rows,
}


def _format(path: Path) -> Callable[[Path], Iterator[tuple[int, Row | BadRow]]]:
    if path.suffix not in READERS:
        raise ConfigError(f"{path}: expected a file that ends in {', '.join(READERS)}")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    return READERS[path.suffix]


def _open_parquet(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path}: expected a parquet file: {error}") from error


def _next_line(reader: Any, path: Path) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: {error}") from error


def _csv_reader(file: Any, path: Path) -> Any:
    return csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
