"""One cell of a table becomes one value of an event: ids, times, numbers, facts.

A cell is whatever the file's format holds: text in CSV, typed values in parquet, JSON values in JSONL. An empty text,
null and NaN all mean that there is no value. Every function raises `ValueError` with what was expected.
"""

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from stream.wire.schema import EVENT_TYPES

__all__ = ["TS_UNITS", "context_value", "event_type", "number", "time_ms", "to_id"]

TS_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Unit of a numeric time to nanoseconds."""
NS_PER_MS = 1_000_000
SECONDS_BELOW_MS = 100_000_000_000
"""As milliseconds this is March 1973; a smaller time was surely given in seconds."""
_INTEGER = re.compile(r"[+-]?\d+")


def to_id(cell: Any) -> str | None:
    """Return an id. Whole numbers become their digits; a float that is whole (an integer column with gaps) as well."""
    if _is_missing(cell):
        return None
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (int, float, Decimal)) and not isinstance(cell, bool) and cell % 1 == 0:
        return str(int(cell))
    raise ValueError(f"expected an id (text or whole number), got {cell!r:.60}")


def event_type(cell: Any) -> str | None:
    """Return one of the event types."""
    if _is_missing(cell):
        return None
    if cell not in EVENT_TYPES:
        raise ValueError(f"expected one of {', '.join(EVENT_TYPES)}, got {cell!r:.60}")
    return str(cell)


def number(cell: Any) -> float | None:
    """Return a finite number."""
    if _is_missing(cell):
        return None
    try:
        result = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"expected a number, got {cell!r:.60}") from None
    if math.isinf(result) or isinstance(cell, bool):
        raise ValueError(f"expected a finite number, got {cell!r:.60}")
    return result


def time_ms(cell: Any, unit: str = "ms") -> int | None:
    """Return milliseconds since the Unix epoch.

    Args:
        cell: a number, a date or time, or either as text (ISO 8601). A time without a zone is read as UTC.
        unit: what a number counts, a key of `TS_UNITS`.
    """
    if _is_missing(cell):
        return None
    if isinstance(cell, str):
        cell = int(cell) if _INTEGER.fullmatch(cell.strip()) else _parsed(cell)
    if isinstance(cell, datetime):
        aware = cell if cell.tzinfo else cell.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)
    if isinstance(cell, date):
        return time_ms(datetime(cell.year, cell.month, cell.day, tzinfo=UTC))
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        raise ValueError(f"expected a time in {unit} or ISO 8601, got {cell!r:.60}")
    return _counted(cell, unit)


def context_value(name: str, cell: Any) -> str | int | float | bool | None:
    """Return a fact of the context; times become ISO 8601 text."""
    if _is_missing(cell):
        return None
    if isinstance(cell, (str, bool, int, float)):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    raise ValueError(f"context.{name}: expected text, a number or true/false, got {type(cell).__name__}")


def _is_missing(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, (float, Decimal)) and math.isnan(cell))


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected a time in ISO 8601 or a number, got {text!r:.60}") from None


def _counted(cell: int | float | Decimal, unit: str) -> int:
    try:
        # Whole numbers stay whole: a float holds the nanoseconds of today to some hundreds only.
        ms = int(cell * TS_UNITS[unit] // NS_PER_MS)
    except (OverflowError, ValueError):
        raise ValueError(f"expected a time in {unit}, got {cell}") from None
    if unit == "ms" and 0 < ms < SECONDS_BELOW_MS:
        raise ValueError(f"expected a time in ms, got {cell}, which looks like seconds; say so with --ts-unit s")
    return ms
