"""Delimited text and JSON lines as a table, by the reader and the rules of `millstream produce`."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.quality.errors import QualityError
from producers.files.cells import is_missing, number, plain, to_id, type_text
from producers.files.rows import BadRow, read_rows, table_in
from producers.files.times import time_ms
from stream.errors import ConfigError

__all__ = ["read_text_table"]


def read_text_table(path: Path, names: Sequence[str]) -> pa.Table:
    """Return the named columns of a file, those that it has; whatever a row lacks is null.

    Raises:
        QualityError: the file cannot be read, or a row is damaged.
    """
    cells: dict[str, list[Any]] = {name: [] for name in names}
    seen: set[str] = set()
    try:
        for row_number, row in read_rows(table_in(path)):
            if isinstance(row, BadRow):
                raise row
            seen.update(row)
            for name in names:
                try:
                    cells[name].append(_READ[name](row.get(name)))
                except ValueError as error:
                    raise QualityError(f"{path}:{row_number}: {name}: {error}") from error
    except ConfigError as error:
        raise QualityError(str(error)) from error
    return pa.table({name: _column(name, cells[name]) for name in names if name in seen})


def _time(cell: Any) -> int | float | None:
    """Return a number as it is, since only all times together tell their unit; others in milliseconds."""
    cell = plain(cell)
    if is_missing(cell) or (isinstance(cell, (int, float)) and not isinstance(cell, bool)):
        return None if is_missing(cell) else cell
    try:
        exact = Decimal(str(cell).strip())
    except ArithmeticError:
        return time_ms(cell)
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def _flag(cell: Any) -> bool | None:
    return None if is_missing(cell) else str(plain(cell)).strip().lower() in ("true", "t", "1", "yes")


_READ: dict[str, Callable[[Any], Any]] = {
    "user": to_id,
    "item": to_id,
    "session": to_id,
    "type": type_text,
    "ts": _time,
    "value": number,
    "merchandise": _flag,
}


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == "ts":
        is_whole = all(value is None or isinstance(value, int) for value in values)
        return pa.array(values, pa.int64() if is_whole else pa.float64())
    return pa.array(values)
