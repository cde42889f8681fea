"""A cell becomes a time: numbers in any notation, ISO 8601, dates, and formats that a person names."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from producers.files.cells import is_missing, plain
from stream.errors import ConfigError
from stream.wire.event_time import UNIT_NAMES, likely_unit

__all__ = ["RELATIVE_START_MS", "TS_UNITS", "check_ts_format", "time_ms"]

TS_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Unit of a numeric time to nanoseconds."""
NS_PER_MS = 1_000_000
RELATIVE_START_MS = 946_684_800_000
"""Where times begin that count from a start of their own: the year 2000."""
MOST_DIGITS = 30
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ZONE_NAME = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_OFFSET_APART = re.compile(r"\s+([+-]\d\d:?\d\d)$")
FORMS = "a number, or ISO 8601 such as 2010-12-01T08:26:00Z or 2010-12-01 08:26:00 UTC; --ts-format names another form"


def time_ms(cell: Any, unit: str = "ms", *, format: str | None = None, is_relative: bool = False) -> int | None:
    """Return milliseconds since the Unix epoch.

    Args:
        cell: a number, a date or time, or either as text. A time without a zone is read as UTC.
        unit: what a number counts, a key of `TS_UNITS`.
        format: how text is written, in the letters of `strptime`; None: a number or ISO 8601.
        is_relative: numbers count from a start of their own, which becomes `RELATIVE_START_MS`.

    Raises:
        ValueError: it is no time, or one that was surely given in another unit.
    """
    cell = plain(cell)
    if is_missing(cell):
        return None
    if format is not None and isinstance(cell, (str, int)) and not isinstance(cell, bool):
        return _from_datetime(_in_format(str(cell).strip(), format))
    if isinstance(cell, str):
        cell = cell.strip()
        cell = Decimal(cell) if _NUMBER.fullmatch(cell) else _iso(cell)
    if isinstance(cell, datetime):
        return _from_datetime(cell)
    if isinstance(cell, date):
        return _from_datetime(datetime(cell.year, cell.month, cell.day, tzinfo=UTC))
    if isinstance(cell, bool) or not isinstance(cell, (int, float, Decimal)):
        raise ValueError(f"expected a time in {unit} or ISO 8601, got {cell!r:.60}")
    return _counted(cell, unit, is_relative=is_relative)


def check_ts_format(format: str) -> None:
    """Refuse a format of times that no text could have.

    Raises:
        ConfigError: it names no date.
    """
    moment = datetime(2010, 12, 31, 8, 26, tzinfo=UTC)
    try:
        is_date = datetime.strptime(moment.strftime(format), format).date() == moment.date()
    except ValueError as error:
        raise ConfigError(f"--ts-format: expected a form such as '%d-%m-%Y %H:%M', got {format!r}: {error}") from None
    if not is_date:
        raise ConfigError(f"--ts-format: expected day, month and year, as in '%d-%m-%Y %H:%M', got {format!r}")


def _iso(text: str) -> datetime:
    moment = _OFFSET_APART.sub(r"\1", _ZONE_NAME.sub("+00:00", text))
    try:
        return datetime.fromisoformat(moment)
    except ValueError:
        raise ValueError(f"expected a time: {FORMS}; got {text!r:.60}") from None


def _in_format(text: str, format: str) -> datetime:
    try:
        return datetime.strptime(text, format)
    except ValueError:
        raise ValueError(f"expected a time in the form {format}, got {text!r:.60}") from None


def _from_datetime(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _counted(count: int | float | Decimal, unit: str, *, is_relative: bool) -> int:
    # Typed numbers go by their text, so that a number means the same in all formats.
    exact = count if isinstance(count, Decimal) else Decimal(repr(count))
    if not exact.is_finite() or exact.adjusted() > MOST_DIGITS:
        raise ValueError(f"expected a time in {unit}, got {count}")
    ms = int(exact * TS_UNITS[unit] // NS_PER_MS)
    if is_relative:
        return RELATIVE_START_MS + ms
    likely = likely_unit(float(exact))
    if likely != unit:
        raise ValueError(_said(count, unit, likely))
    return ms


def _said(count: int | float | Decimal, unit: str, likely: str | None) -> str:
    if likely is None:
        return (
            f"expected a time in {unit} since 1970, got {count}, which is none of 1973 to 5138; where times count from "
            "a start of their own, say --relative-time"
        )
    looks = UNIT_NAMES[likely]
    return f"expected a time in {unit}, got {count}, which looks like {looks}; say so with --ts-unit {likely}"
