"""A table of events: its columns are matched with the fields of an event, its rows are read lazily.

How a cell becomes a value of a field is in `cells.py`; where rows come from is in `rows.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from producers.event_encoding import BadEvent, encode_event
from producers.files.cells import TS_UNITS, context_value, event_type, number, time_ms, to_id
from producers.files.rows import FORMATS, BadRow, Row, Table, column_names, num_rows, read_rows, table_in
from stream.errors import ConfigError
from stream.wire.schema import EVENT_TYPES, Event

__all__ = ["EVENT_FIELDS", "EventFile", "ReadOptions"]

REQUIRED = ("user", "item")
EVENT_FIELDS = ("user", "item", "type", "ts", "id", "value", "session")
"""Fields that a column can be mapped to. Columns `context.NAME` and a column `context` of objects come on top."""
CONTEXT = "context"
CONTEXT_PREFIX = "context."
STREAM_NAME, STREAM_FORMAT = "standard input", "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How the columns of a file are understood."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of the event to the name of the column, where they differ: `{"user": "customer_id"}`."""
    default_type: str | None = None
    """Type of the rows that name none, such as `purchase` for a file of orders."""
    format: str | None = None
    """parquet, csv, tsv or jsonl; None: what the ending of the file says, and JSON lines for a stream."""
    ts_unit: str = "ms"
    """Unit of a numeric time: s, ms, us or ns."""
    skip_bad: bool = False
    """Count rows that are no events and go on, instead of stopping at the first."""

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in EVENT_FIELDS and not name.startswith(CONTEXT_PREFIX):
                raise ConfigError(f"--map {name}: expected one of {', '.join(EVENT_FIELDS)} or context.NAME")
        if self.default_type is not None and self.default_type not in EVENT_TYPES:
            raise ConfigError(f"--type: expected one of {', '.join(EVENT_TYPES)}, got {self.default_type}")
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}, got {self.format}")
        if self.ts_unit not in TS_UNITS:
            raise ConfigError(f"--ts-unit: expected one of {', '.join(TS_UNITS)}, got {self.ts_unit}")


class EventFile:
    """The events of one parquet, CSV, TSV or JSONL file. Iterating reads it from the start, batch by batch.

    Args:
        source: the file, or a stream that is open already (standard input) and can be iterated over once.
        options: how its columns are understood.

    Raises:
        ConfigError: no such file, an unknown format, or a column that is needed is missing. Of JSON lines, where every
            line has fields of its own, and of a stream, that is said while iterating.
    """

    def __init__(self, source: Path | BinaryIO, options: ReadOptions | None = None) -> None:
        self.options = options or ReadOptions()
        self._table = _table(source, self.options.format)
        self.num_rows = num_rows(self._table)
        """Rows in the file when it says so itself (parquet), else None."""
        self.num_bad = 0
        """Rows skipped so far in the running iteration."""
        self.first_bad: BadRow | None = None
        """Why the first of them was skipped."""
        self._columns = {name: self.options.columns.get(name, name) for name in EVENT_FIELDS}
        mapped = {name: column for name, column in self.options.columns.items() if name.startswith(CONTEXT_PREFIX)}
        self._mapped_context = {column: name.removeprefix(CONTEXT_PREFIX) for name, column in mapped.items()}
        if self._table.is_file:
            self._check_file()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in file order.

        Raises:
            BadRow: a row is no event, and `skip_bad` was not asked for.
            ConfigError: the file is damaged, or a stream has not the columns that are needed.
        """
        self.num_bad, self.first_bad = 0, None
        for row_number, row in self._rows():
            try:
                yield self._event(row_number, row)
            except BadRow as error:
                if not self.options.skip_bad:
                    raise
                self.num_bad += 1
                self.first_bad = self.first_bad or error

    def _rows(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield the rows; of a stream, whose columns were not seen before, check those of the first one."""
        is_checked = self._table.is_file or self._table.format == "jsonl"
        for row_number, row in read_rows(self._table):
            if not is_checked and not isinstance(row, BadRow):
                self._check_columns(list(row))
                is_checked = True
            yield row_number, row

    def _event(self, row_number: int, row: Row | BadRow) -> Event:
        if isinstance(row, BadRow):
            raise row
        try:
            event = self._build(row)
            encode_event(event)
        except (ValueError, BadEvent) as error:
            raise BadRow(f"{self._table.name}:{row_number}: {error}") from error
        return event

    def _build(self, row: Row) -> Event:
        def read(name: str, convert: Callable[[Any], Any]) -> Any:
            column = self._columns[name]
            cell = row.get(column)
            try:
                return None if cell is None else convert(cell)
            except ValueError as error:
                shown = name if column == name else f"{name} (column {column})"
                raise ValueError(f"{shown}: {error}") from error

        user, item = read("user", to_id), read("item", to_id)
        if user is None or item is None:
            raise ValueError(self._missing("user" if user is None else "item", row))
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

    def _missing(self, name: str, row: Row) -> str:
        if self._columns[name] in row:
            return f"{name}: expected an id, got nothing"
        return f"{name}: expected an id, got nothing but {', '.join(row):.200}; is it one of them? --map {name}=COLUMN"

    def _default_type(self) -> str:
        if self.options.default_type is None:
            raise ValueError("type: expected a type, got nothing; name one for such rows with --type")
        return self.options.default_type

    def _context_of(self, row: Row) -> dict[str, str | int | float | bool | None] | None:
        whole = row.get(CONTEXT)
        found = dict(whole) if isinstance(whole, dict) else {}
        for column, cell in row.items():
            if column.startswith(CONTEXT_PREFIX):
                found[column.removeprefix(CONTEXT_PREFIX)] = cell
        found.update({name: row.get(column) for column, name in self._mapped_context.items()})
        facts = {name: context_value(name, cell) for name, cell in found.items()}
        return {name: fact for name, fact in facts.items() if fact is not None} or None

    def _check_file(self) -> None:
        names = column_names(self._table)
        if names is None:
            self._check_mapped(_fields_until(self._table, set(self.options.columns.values())))
        else:
            self._check_columns(names)

    def _check_mapped(self, names: list[str]) -> None:
        for name, column in self.options.columns.items():
            if column not in names:
                raise ConfigError(
                    f"{self._table.name}: --map {name}={column}: no such column; there are {', '.join(names) or 'none'}"
                )

    def _check_columns(self, names: list[str]) -> None:
        self._check_mapped(names)
        for name in REQUIRED:
            if self._columns[name] not in names:
                raise ConfigError(
                    f"{self._table.name}: no column {name}; there are {', '.join(names) or 'none'}. "
                    f"Say which one it is: --map {name}=COLUMN"
                )
        if self._columns["type"] not in names and self.options.default_type is None:
            raise ConfigError(
                f"{self._table.name}: no column type; there are {', '.join(names)}. Say which one it is "
                f"(--map type=COLUMN) or give all events one type (--type purchase)"
            )


def _table(source: Path | BinaryIO, format: str | None) -> Table:
    if isinstance(source, Path):
        return table_in(source, format)
    return Table(STREAM_NAME, format or STREAM_FORMAT, source)


def _fields_until(table: Table, wanted: set[str]) -> list[str]:
    """Return the fields of the first lines, up to the one by which all wanted ones were seen."""
    seen: dict[str, None] = {}
    for _, row in read_rows(table) if wanted else ():
        seen.update(dict.fromkeys(() if isinstance(row, BadRow) else row))
        if wanted <= seen.keys():
            break
    return list(seen)
