"""One cell of a table becomes one value of an event: ids, types, numbers, facts. Times are in `times.py`.

A cell is whatever the file's format holds: text in CSV, typed values in parquet, JSON values in JSONL. An empty text,
null, NaN, and what databases and R write for it (`NULL`, `NA`, `\\N`) all mean that there is no value. Every function
raises `ValueError` with what was expected.
"""

import math
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from stream.wire.schema import EVENT_TYPES

__all__ = ["LEFT_OUT", "context_value", "event_type", "is_missing", "number", "plain", "to_id", "type_text"]

NOTHING = frozenset({"", "NULL", "null", "NA", "N/A", "NaN", "nan", "\\N"})
"""Texts that stand for no value, blanks around them aside."""
NOTHING_AS_FACT = frozenset({"", "NULL", "\\N"})
"""NA is Namibia where countries are told."""
EXACT_BELOW = 2**53
"""Not all whole numbers from here on are floats: an id may have been another one before it became a float."""
LEFT_OUT = ""
"""What a type of the file is mapped to whose rows are to be left out."""
OTHER_TYPES = "*"
"""Stands for all types of the file that are neither ours nor mapped by name."""


def plain(cell: Any) -> Any:
    """Return text where a file keeps it as bytes (parquet of Impala, Hive and old Spark); other cells as they are."""
    if not isinstance(cell, (bytes, bytearray)):
        return cell
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise ValueError(f"expected text in UTF-8, got the bytes {bytes(cell)!r:.60}") from None


def is_missing(cell: Any) -> bool:
    """Return whether a cell stands for no value."""
    if isinstance(cell, str):
        return cell.strip() in NOTHING
    return cell is None or (isinstance(cell, (float, Decimal)) and math.isnan(cell))


def to_id(cell: Any) -> str | None:
    """Return an id, without blanks around it. Whole numbers become their digits, also as floats (columns with gaps)."""
    cell = plain(cell)
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, float) and abs(cell) >= EXACT_BELOW and math.isfinite(cell):
        raise ValueError(
            f"expected an id, got the float {cell!r}, whose last digits may be lost: store integers or text"
        )
    if isinstance(cell, (int, float, Decimal)) and not isinstance(cell, bool) and cell % 1 == 0:
        return str(int(cell))
    raise ValueError(f"expected an id (text or whole number), got {cell!r:.60}")


def type_text(cell: Any) -> str | None:
    """Return the type as the file writes it, None for none."""
    cell = plain(cell)
    if is_missing(cell):
        return None
    return str(cell).strip()


def event_type(cell: Any, types: Mapping[str, str] | None = None) -> str | None:
    """Return one of the event types, or `LEFT_OUT`.

    Args:
        cell: one of ours, or one that is mapped.
        types: type of the file to one of ours, or to `LEFT_OUT`; `*` stands for all others.
    """
    text, types = type_text(cell), types or {}
    if text is None:
        return None
    if text in types:
        return types[text]
    if text in EVENT_TYPES:
        return text
    if OTHER_TYPES in types:
        return types[OTHER_TYPES]
    raise ValueError(
        f"expected one of {', '.join(EVENT_TYPES)}, got {text!r:.60}; "
        f"say what it means: --map-type {text:.60}=TYPE (nothing after = leaves such rows out)"
    )


def number(cell: Any, *, has_decimal_comma: bool = False) -> float | None:
    """Return a finite number.

    Args:
        cell: a number, or one as text.
        has_decimal_comma: text is written as in 1.234,50.
    """
    cell = plain(cell)
    if is_missing(cell):
        return None
    text = (
        cell.replace(".", "").replace(",", ".") if has_decimal_comma and isinstance(cell, str) and "," in cell else cell
    )
    try:
        result = float(text)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a number, got {cell!r:.60}") from None
    if math.isinf(result) or isinstance(cell, bool):
        raise ValueError(f"expected a finite number, got {cell!r:.60}")
    return result


def context_value(name: str, cell: Any) -> str | int | float | bool | None:
    """Return a fact of the context; times become ISO 8601 text."""
    cell = plain(cell)
    if is_missing(cell) and (not isinstance(cell, str) or cell.strip() in NOTHING_AS_FACT):
        return None
    if isinstance(cell, (str, bool, int, float)):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, date):
        return cell.isoformat()
    raise ValueError(f"context.{name}: expected text, a number or true/false, got {type(cell).__name__}")
