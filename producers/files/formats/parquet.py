"""Parquet: typed columns, read in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from producers.files.formats.table import BadRow, Row, Table, unique
from producers.files.opening import expecting
from stream.errors import ConfigError

__all__ = ["num_parquet_rows", "parquet_columns", "parquet_rows"]

ROWS_PER_BATCH = 4096
"""Rows held as Python values at a time."""


def parquet_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every row with its number: 1, 2, 3…

    Raises:
        ConfigError: the file is no parquet, or is damaged.
    """
    number = 0
    file = _opened(table)
    with expecting("a whole parquet file", table.name, pa.ArrowException, OverflowError):
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            names = batch.schema.names
            columns = [_python_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))


def parquet_columns(table: Table) -> list[str]:
    """Return the names of the columns.

    Raises:
        ConfigError: the file is no parquet, or a column is there twice.
    """
    return unique(list(_opened(table).schema_arrow.names), table.name)


def num_parquet_rows(table: Table) -> int:
    """Return how many rows the file says it has."""
    return int(_opened(table).metadata.num_rows)


def _opened(table: Table) -> Any:
    if not table.is_file:
        raise ConfigError(f"{table.name}: expected csv, tsv or jsonl; parquet is read from files only")
    assert isinstance(table.source, Path)
    with expecting("a parquet file", table.name, pa.ArrowException):
        return pq.ParquetFile(table.source)


def _python_values(column: Any) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        # Python's own times end at microseconds, and our events at milliseconds.
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return list(column.to_pylist())
