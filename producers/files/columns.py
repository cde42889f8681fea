"""Which column of a file serves which field of an event: every column one field, and what was mapped that one alone."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from producers.files.formats.table import Row
from producers.files.read_options import CONTEXT, CONTEXT_PREFIX, EVENT_FIELDS, NO_COLUMN, ReadOptions
from stream.errors import ConfigError
from stream.wire.schema import EVENT_TYPES

__all__ = ["Columns"]

REQUIRED = ("user", "item")
_PATH_PART = re.compile(r"[^.\[\]]+")
SEPARATORS = (";", "\t", "|", "::")


class Columns:
    """Field to column, for the rows of one file.

    A field that was not mapped is served by the column of its own name, unless that one was mapped to another field.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        mapped = {**options.optional, **options.columns}
        taken = {part for column in mapped.values() for part in (column, _root(column))}
        self.of_field = {
            name: mapped.get(name, NO_COLUMN if name in taken else name) for name in (*EVENT_FIELDS, CONTEXT)
        }
        self._facts = {
            name.removeprefix(CONTEXT_PREFIX): column
            for name, column in mapped.items()
            if name.startswith(CONTEXT_PREFIX) and column != NO_COLUMN
        }
        self._taken = taken

    def cell(self, name: str, row: Row) -> Any:
        """Return what a row has for a field, None if it has nothing."""
        return _found(self.of_field[name], row)

    def facts(self, row: Row) -> dict[str, Any]:
        """Return the facts of a row: of its column `context`, of its columns `context.NAME`, and of mapped ones.

        Raises:
            ValueError: the column `context` is no object.
        """
        found = _whole_context(self.cell(CONTEXT, row))
        for column, cell in row.items():
            if column.startswith(CONTEXT_PREFIX) and column not in self._taken:
                found[column.removeprefix(CONTEXT_PREFIX)] = cell
        found.update({name: _found(column, row) for name, column in self._facts.items()})
        return found

    def check(self, names: Sequence[str], where: str, *, has_header: bool) -> None:
        """Refuse a table without the columns that are needed.

        Args:
            names: its columns.
            where: its name.
            has_header: the names are the first line of a text.

        Raises:
            ConfigError: one is missing, or the first line holds data and no names.
        """
        shown = ", ".join(name for name in names if name) or "none"
        if has_header and (data := self._looking_like_data(names)):
            raise ConfigError(
                f"{where}: the first line looks like data and not like the names of columns ({', '.join(data)}). Name "
                f"the columns of a file without a header, in order: --columns user,item,…"
            )
        self.check_mapped(names, where)
        for name in REQUIRED:
            if not _is_there(self.of_field[name], names):
                raise ConfigError(
                    f"{where}: no column {name}; there are {shown}. Say which one it is: --map {name}=COLUMN"
                    + (_hint(names) if has_header else "")
                )
        if not _is_there(self.of_field["type"], names) and self._options.default_type is None:
            raise ConfigError(
                f"{where}: no column type; there are {shown}. Say which one it is "
                f"(--map type=COLUMN) or give all events one type (--type purchase)"
            )

    def check_mapped(self, names: Sequence[str], where: str) -> None:
        """Refuse a table that lacks a column that was mapped.

        Raises:
            ConfigError: one is missing.
        """
        for name, column in self._options.columns.items():
            if column != NO_COLUMN and not _is_there(column, names):
                shown = ", ".join(name for name in names if name) or "none"
                raise ConfigError(f"{where}: --map {name}={column}: no such column; there are {shown}")

    def missing(self, name: str, row: Row) -> str:
        """Return what to say of a row that has nothing for a needed field."""
        if _is_there(self.of_field[name], list(row)):
            return f"{name}: expected an id, got nothing"
        there = f"{', '.join(row):.200}"
        return f"{name}: expected an id, got nothing but {there}; is it one of them? --map {name}=COLUMN"

    def described(self, names: Sequence[str], *, uses_type: bool) -> str:
        """Return which column serves which field: `user = customer_id, item = sku`."""
        fields = {name: column for name, column in self.of_field.items() if name != "type" or uses_type}
        fields |= {CONTEXT_PREFIX + name: column for name, column in self._facts.items()}
        extra = [name for name in names if name.startswith(CONTEXT_PREFIX) and name not in self._taken]
        fields |= {name: name for name in extra}
        return ", ".join(f"{name} = {column}" for name, column in fields.items() if _is_there(column, names))

    def _looking_like_data(self, names: Sequence[str]) -> list[str]:
        if set(REQUIRED) <= set(names) or list(names) == [str(number) for number in range(len(names))]:
            return []
        is_type = self.of_field["type"] in EVENT_TYPES and "type" in self._options.columns
        return [name for name in names if _is_number(name) or (is_type and name == self.of_field["type"])]


def _root(column: str) -> str:
    parts = _PATH_PART.findall(column)
    return parts[0] if parts else column


def _is_there(column: str, names: Sequence[str]) -> bool:
    return column != NO_COLUMN and (column in names or _root(column) in names)


def _found(column: str, row: Row) -> Any:
    if column == NO_COLUMN:
        return None
    if column in row:
        return row[column]
    value: Any = row
    for part in _PATH_PART.findall(column):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _whole_context(cell: Any) -> dict[str, Any]:
    if cell is None or cell == "":
        return {}
    if isinstance(cell, dict):
        return dict(cell)
    if isinstance(cell, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in cell):
        return dict(cell)  # a map of parquet
    raise ValueError(
        f"context: expected an object of facts, got {cell!r:.60}; one fact is mapped: --map context.NAME=context"
    )


def _is_number(name: str) -> bool:
    try:
        return Decimal(name).is_finite()
    except InvalidOperation:
        return False


def _hint(names: Sequence[str]) -> str:
    if len(names) == 1:
        for separator in SEPARATORS:
            if separator in names[0]:
                return f". Are the columns separated by {separator!r}? --delimiter {separator!r}"
    return "; and if the first line is data and no names, name the columns: --columns user,item,…"
