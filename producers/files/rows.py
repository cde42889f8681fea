"""Rows of parquet, CSV, TSV and JSON lines, one after the other, with the number a person finds them by."""

from collections.abc import Callable, Iterator

from producers.files.formats.delimited import delimited_columns, delimited_rows
from producers.files.formats.json_lines import json_lines_rows
from producers.files.formats.parquet import num_parquet_rows, parquet_columns, parquet_rows
from producers.files.formats.table import FORMATS, BadRow, Row, Table, table_in
from stream.errors import ConfigError

__all__ = ["BadRow", "FORMATS", "Row", "Table", "column_names", "num_rows", "read_rows", "table_in"]

DELIMITED = ("csv", "tsv")


def read_rows(table: Table, on_separator: Callable[[str], None] | None = None) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every row with its number.

    Numbers are those an editor shows: lines of a text file, and 1, 2, 3… of a parquet file. A row that cannot even be
    split into columns comes as a `BadRow`, so that the reader decides whether to go on.

    Args:
        table: where they are.
        on_separator: told what separates the columns of delimited text, before the first row.

    Raises:
        ConfigError: the file cannot be opened, or is damaged where no single row is to blame.
    """
    if table.format in DELIMITED:
        return delimited_rows(table, on_separator)
    return parquet_rows(table) if table.format == "parquet" else json_lines_rows(table)


def column_names(table: Table) -> list[str] | None:
    """Return the columns of a file; None for JSON lines, where every line names its own.

    Raises:
        ConfigError: see `read_rows`; or a column is there twice; or names or a delimiter were given for a format that
            has its own.
    """
    if table.format not in DELIMITED and (table.columns is not None or table.delimiter is not None):
        raise ConfigError(f"{table.name}: --columns and --delimiter are for CSV and TSV, got {table.format}")
    if table.format == "jsonl":
        return None
    return parquet_columns(table) if table.format == "parquet" else delimited_columns(table)


def num_rows(table: Table) -> int | None:
    """Return how many rows there are when the file says so, else None."""
    return num_parquet_rows(table) if table.format == "parquet" else None
