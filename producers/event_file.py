"""A file of events: its columns are matched with the fields of an event, its rows are read lazily.

How a cell becomes a value of a field is in `cells.py`; where rows come from is in `tables.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from producers.cells import TS_UNITS, context_value, event_type, number, time_ms, to_id
from producers.encoding import BadEvent, encode_event
from producers.tables import BadRow, Row, column_names, num_rows, read_rows
from stream.errors import ConfigError
from stream.schema import EVENT_TYPES, Event

__all__ = ["EVENT_FIELDS", "EventFile", "ReadOptions"]

REQUIRED = ("user", "item")
EVENT_FIELDS = ("user", "item", "type", "ts", "id", "value", "session")
"""Fields that a column can be mapped to. Columns `context.NAME` and a column `context` of objects come on top."""
CONTEXT = "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How the columns of a file are understood."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the event to the name of the column, where they differ: `{"user": "customer_id"}`."""
    default_type: str | None = None
    """Type of the rows that name none, such as `purchase` for a file of orders."""
    ts_unit: str = "ms"
    """Unit of a numeric time: s, ms, us or ns."""
    skip_bad: bool = False
    """Count rows that are no events and go on, instead of stopping at the first."""

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in EVENT_FIELDS and not name.startswith("context."):
                raise ConfigError(f"--map {name}: expected one of {', '.join(EVENT_FIELDS)} or context.NAME")
        if self.default_type is not None and self.default_type not in EVENT_TYPES:
            raise ConfigError(f"--type: expected one of {', '.join(EVENT_TYPES)}, got {self.default_type}")
        if self.ts_unit not in TS_UNITS:
            raise ConfigError(f"--ts-unit: expected one of {', '.join(TS_UNITS)}, got {self.ts_unit}")


class EventFile:
    """The events of one parquet, CSV, TSV or JSONL file. Iterating reads it from the start, batch by batch.

    Args:
        path: the file; its ending names the format.
        options: how its columns are understood.

    Raises:
        ConfigError: no such file, an unknown format, or a column that is needed is missing.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        self.path = path
        self.options = options or ReadOptions()
        self.num_rows = num_rows(path)
        """Rows in the file when it says so itself (parquet), else None."""
        self.num_bad = 0
        """Rows skipped so far in the running iteration."""
        self.first_bad: BadRow | None = None
        """Why the first of them was skipped."""
        names = column_names(path)
        self._sources = self._match(names)
        self._context = {name: name.removeprefix("context.") for name in names if name.startswith("context.")}
        mapped = {column: name for name, column in self.options.columns.items() if name.startswith("context.")}
        self._context.update({column: name.removeprefix("context.") for column, name in mapped.items()})

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in file order.

        Raises:
            BadRow: a row is no event, and `skip_bad` was not asked for.
        """
        self.num_bad, self.first_bad = 0, None
        for row_number, row in read_rows(self.path):
            try:
                yield self._event(row_number, row)
            except BadRow as error:
                if not self.options.skip_bad:
                    raise
                self.num_bad += 1
                self.first_bad = self.first_bad or error

    def _event(self, row_number: int, row: Row | BadRow) -> Event:
        if isinstance(row, BadRow):
            raise row
        try:
            event = self._build(row)
            encode_event(event)
        except (ValueError, BadEvent) as error:
            raise BadRow(f"{self.path}:{row_number}: {error}") from error
        return event

    def _build(self, row: Row) -> Event:
        def read(name: str, convert: Callable[[Any], Any]) -> Any:
            column = self._sources.get(name)
            try:
                return None if column is None else convert(row.get(column))
            except ValueError as error:
                shown = name if column == name else f"{name} (column {column})"
                raise ValueError(f"{shown}: {error}") from error

        user, item = read("user", to_id), read("item", to_id)
        if user is None or item is None:
            raise ValueError(f"{'user' if user is None else 'item'}: expected an id, got nothing")
        return Event(
            user=user,
            item=item,
            type=cast(Any, read("type", event_type) or self._default_type()),
            ts=read("ts", lambda cell: time_ms(cell, self.options.ts_unit)),
            id=read("id", to_id),
            value=read("value", number),
            session=read("session", to_id),
            context=self._context_of(row),
        )

    def _default_type(self) -> str:
        if self.options.default_type is None:
            raise ValueError("type: expected a type, got nothing; name one for such rows with --type")
        return self.options.default_type

    def _context_of(self, row: Row) -> dict[str, str | int | float | bool | None] | None:
        whole = row.get(CONTEXT)
        found = dict(whole) if isinstance(whole, dict) else {}
        found.update({name: row.get(column) for column, name in self._context.items()})
        facts = {name: context_value(name, cell) for name, cell in found.items()}
        return {name: fact for name, fact in facts.items() if fact is not None} or None

    def _match(self, names: list[str]) -> dict[str, str]:
        """Return field to column for the fields that the file has."""
        for name, column in self.options.columns.items():
            if column not in names:
                raise ConfigError(f"{self.path}: --map {name}={column}: no such column; there are {', '.join(names)}")
        sources = {name: self.options.columns.get(name, name) for name in EVENT_FIELDS}
        sources = {name: column for name, column in sources.items() if column in names}
        for name in REQUIRED:
            if name not in sources:
                raise ConfigError(
                    f"{self.path}: no column {name}; there are {', '.join(names) or 'none'}. "
                    f"Say which one it is: --map {name}=COLUMN"
                )
        if "type" not in sources and self.options.default_type is None:
            raise ConfigError(
                f"{self.path}: no column type; there are {', '.join(names)}. Say which one it is "
                f"(--map type=COLUMN) or give all events one type (--type purchase)"
            )
        return sources
