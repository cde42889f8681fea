"""A table of events: its columns are matched with the fields of an event, its rows are read lazily.

How a cell becomes a value of a field is in `cells.py` and `times.py`; where rows come from is in `rows.py`.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from producers.event_encoding import DEFAULT_LIMITS, BadEvent, encode_event
from producers.files.cells import LEFT_OUT, context_value, event_type, number, to_id, type_text
from producers.files.columns import Columns
from producers.files.read_options import EVENT_FIELDS, ReadOptions
from producers.files.rows import BadRow, Row, Table, column_names, num_rows, read_rows, table_in
from producers.files.times import time_ms
from stream.config.settings import EventSettings
from stream.wire.schema import EVENT_TYPES, Event

__all__ = ["EVENT_FIELDS", "EventFile", "ReadOptions"]

STREAM_NAME, STREAM_FORMAT = "standard input", "jsonl"


class EventFile:
    """The events of one parquet, CSV, TSV or JSONL file. Iterating reads it from the start, batch by batch.

    Args:
        source: the file, or a stream that is open already (standard input) and can be iterated over once.
        options: how its columns are understood.
        limits: what the worker accepts, when its settings were changed.
        clock: seconds since the Unix epoch; a row from too far ahead of it is a bad one.
        name: what messages call a stream.

    Raises:
        ConfigError: no such file, an unknown format, or a column that is needed is missing. Of JSON lines, where every
            line has fields of its own, and of a stream, that is said while iterating.
    """

    def __init__(
        self,
        source: Path | BinaryIO,
        options: ReadOptions | None = None,
        *,
        limits: EventSettings = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.time,
        name: str = STREAM_NAME,
    ) -> None:
        self.options = options or ReadOptions()
        self._limits, self._clock = limits, clock
        self._table = _table(source, self.options, name)
        self._columns = Columns(self.options)
        self.num_rows = num_rows(self._table) if self.options.each is None else None
        """Rows in the file when it says so itself (parquet), else None."""
        self.num_read = 0
        """Rows read so far in the running iteration: events, bad ones and those left out."""
        self.num_events = 0
        """Events so far in the running iteration."""
        self.num_bad = 0
        """Rows skipped so far in the running iteration."""
        self.num_left_out = 0
        """Rows of types that were to be left out, so far in the running iteration."""
        self.first_bad: BadRow | None = None
        """Why the first of them was skipped."""
        self._names: list[str] = []
        self._has_foreign_type: bool | None = None
        self._separator: str | None = None
        if self._table.is_file:
            self._check_file()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in file order.

        Raises:
            BadRow: a row is no event, and `skip_bad` was not asked for.
            ConfigError: the file is damaged, or a stream has not the columns that are needed.
        """
        self.num_read, self.num_events, self.num_bad, self.num_left_out = 0, 0, 0, 0
        self.first_bad, self._has_foreign_type = None, None
        for row_number, row in self._rows():
            self.num_read += 1
            try:
                event = self._event(row_number, row)
            except BadRow as error:
                if not self.options.skip_bad:
                    raise
                self.num_bad += 1
                self.first_bad = self.first_bad or error
                continue
            if event is None:
                self.num_left_out += 1
            else:
                self.num_events += 1
                yield event

    def described(self) -> str:
        """Return which column serves which field, once a row was read: `user = customer_id, item = sku`."""
        uses_type = not self._has_foreign_type
        found = self._columns.described(self._names, uses_type=uses_type)
        if self.options.default_type is not None and f"type = {self._columns.of_field['type']}" not in found:
            found += f", type: {self.options.default_type} for all rows"
        is_usual = self._separator in (None, ",", "\t")
        return found + ("" if is_usual else f" (separated by {self._separator!r})")

    def _take_separator(self, separator: str) -> None:
        self._separator = separator

    def _rows(self) -> Iterator[tuple[int, Row | BadRow]]:
        """Yield the rows; of a stream, whose columns were not seen before, check those of the first one."""
        is_checked = self._table.is_file or self._table.format == "jsonl"
        for row_number, whole in read_rows(self._table, self._take_separator):
            if isinstance(whole, BadRow):
                yield row_number, whole
                continue
            for row in _unfolded(whole, self.options.each):
                if not is_checked:
                    self._columns.check(list(row), self._table.name, has_header=self.options.names is None)
                    is_checked = True
                self._names = self._names or list(row)
                yield row_number, row

    def _event(self, row_number: int, row: Row | BadRow) -> Event | None:
        """Return the event of a row, None if it is to be left out."""
        if isinstance(row, BadRow):
            raise row
        try:
            event = self._build(row)
            if event is not None:
                encode_event(event, self._limits, now_ms=int(self._clock() * 1000))
        except (ValueError, BadEvent) as error:
            raise BadRow(f"{self._table.name}:{row_number}: {error}") from error
        return event

    def _build(self, row: Row) -> Event | None:
        def read(name: str, convert: Callable[[Any], Any]) -> Any:
            cell = self._columns.cell(name, row)
            try:
                return None if cell is None else convert(cell)
            except ValueError as error:
                column = self._columns.of_field[name]
                shown = name if column == name else f"{name} (column {column})"
                raise ValueError(f"{shown}: {error}") from error

        type_ = read("type", lambda cell: self._known_type(row, cell))
        if type_ == LEFT_OUT:
            return None
        user, item = read("user", to_id), read("item", to_id)
        if user is None or item is None:
            raise ValueError(self._columns.missing("user" if user is None else "item", row))
        return Event(
            user=user,
            item=item,
            type=cast(Any, type_ or self._default_type()),
            ts=read("ts", self._time),
            id=read("id", to_id),
            value=read("value", lambda cell: number(cell, has_decimal_comma=self._separator == ";")),
            session=read("session", to_id),
            context=self._context_of(row),
        )

    def _time(self, cell: Any) -> int | None:
        options = self.options
        return time_ms(cell, options.ts_unit, format=options.ts_format, is_relative=options.relative_time)

    def _known_type(self, row: Row, cell: Any) -> str | None:
        return None if self._is_foreign_type(row) else event_type(cell, self.options.types)

    def _default_type(self) -> str:
        if self.options.default_type is None:
            raise ValueError("type: expected a type, got nothing; name one for such rows with --type")
        return self.options.default_type

    def _is_foreign_type(self, row: Row) -> bool:
        """Return whether `--type` is for all rows: the first value of a column `type` is none of ours, nor mapped."""
        if self.options.default_type is None or "type" in self.options.columns:
            return False
        if self._has_foreign_type is None:
            first = type_text(self._columns.cell("type", row))
            if first is None:
                return False
            self._has_foreign_type = first not in (*EVENT_TYPES, *self.options.types)
        return self._has_foreign_type

    def _context_of(self, row: Row) -> dict[str, str | int | float | bool | None] | None:
        facts = {name: context_value(name, cell) for name, cell in self._columns.facts(row).items()}
        return {name: fact for name, fact in facts.items() if fact is not None} or None

    def _check_file(self) -> None:
        names = column_names(self._table)
        if names is None:
            wanted = [column for column in self.options.columns.values() if column]
            self._columns.check_mapped(self._fields_until(wanted), self._table.name)
        else:
            has_header = self._table.format != "parquet" and self.options.names is None
            self._columns.check(names, self._table.name, has_header=has_header)

    def _fields_until(self, wanted: list[str]) -> list[str]:
        """Return the fields of the first lines, up to the one by which all wanted ones were seen."""
        seen: dict[str, None] = {}
        roots = {column.partition(".")[0].partition("[")[0] for column in wanted}
        for _, row in read_rows(self._table) if wanted else ():
            if not isinstance(row, BadRow):
                for one in _unfolded(row, self.options.each):
                    seen.update(dict.fromkeys(one))
            if roots <= seen.keys() or set(wanted) <= seen.keys():
                break
        return list(seen)


def _unfolded(row: Row, each: str | None) -> list[Row]:
    """Return one row for each object of a list, with what stands beside the list; the row itself if it has none."""
    if each is None:
        return [row]
    name, _, rest = each.partition(".")
    inner = row.get(name)
    if rest and isinstance(inner, dict):
        return [{**row, name: one} for one in _unfolded(inner, rest)]
    if rest or not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner) or not inner:
        return [row]
    beside = {key: value for key, value in row.items() if key != name}
    return [{**beside, **one} for one in inner]


def _table(source: Path | BinaryIO, options: ReadOptions, name: str) -> Table:
    if isinstance(source, Path):
        return table_in(source, options.format, options.delimiter, options.names)
    format = options.format or ("csv" if options.delimiter or options.names else STREAM_FORMAT)
    return Table(name, format, source, options.delimiter, options.names)
