"""CSV, TSV and their kin: one row after the other, quoting by format, and no row inside another one's quotes.

In CSV (one separating character) a cell may be quoted and then hold separators, doubled quotes and line ends. In TSV,
and where a longer text separates, a quote is a character like any other: only a cell that also ends in one is without
them. A quote that is never closed costs the line on which it opened and none of those behind it.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO

from producers.files.formats.table import BadRow, Row, Table, opened_text, unique
from producers.files.opening import expecting
from stream.errors import ConfigError

__all__ = ["delimited_columns", "delimited_rows"]

MOST_LINES_OF_A_ROW = 1_000
"""A quoted cell that goes on for longer was not meant to be quoted."""
MOST_CHARS_OF_A_CELL = 2**31 - 1
CANDIDATES = (",", ";", "\t", "|", "::")
"""What is looked for in the first line of a CSV file, the first one that is there."""
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*")
_QUOTED = re.compile(r'"[^"]*"')


def delimited_rows(
    table: Table, on_separator: Callable[[str], None] | None = None
) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every row with the number of the line that it begins on.

    Args:
        table: where they are.
        on_separator: told what separates the columns, before the first row.

    Raises:
        ConfigError: the file cannot be read, or its header means nothing.
    """
    with opened_text(table) as file:
        reader = _Reader(file, table)
        names = reader.names()
        if on_separator is not None:
            on_separator(reader.delimiter)
        for number, values in reader.rows():
            if isinstance(values, BadRow):
                yield number, values
            else:
                yield number, {name: cell for name, cell in zip(names, values, strict=True) if name}


def delimited_columns(table: Table) -> list[str]:
    """Return the names of the columns.

    Raises:
        ConfigError: see `delimited_rows`; or a column is there twice.
    """
    with opened_text(table) as file:
        return _Reader(file, table).names()


class _Lines:
    """Lines of a text with their numbers; those of one row can be given back, but for the first."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._waiting: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= MOST_LINES_OF_A_ROW:
            raise csv.Error("too many lines")
        line = self._waiting.popleft() if self._waiting else next(self._text)
        self.number += 1
        self.taken.append(line)
        return line

    def first_of_row(self) -> int:
        return self.number - len(self.taken) + 1

    def give_back_all_but(self, num_kept: int) -> None:
        self._waiting.extendleft(reversed(self.taken[num_kept:]))
        self.number -= len(self.taken) - num_kept
        del self.taken[num_kept:]


class _Reader:
    def __init__(self, file: BinaryIO, table: Table) -> None:
        # Bytes that are no UTF-8 go through: only the row that has them is bad, and only where they are used.
        self._lines = _Lines(io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline=""))
        self._name, self._columns = table.name, table.columns
        self.delimiter = self._found_delimiter(table)
        self._is_quoting = table.format == "csv" and len(self.delimiter) == 1
        if self._is_quoting:
            csv.field_size_limit(MOST_CHARS_OF_A_CELL)
            self._csv = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        self._num_columns = 0

    def names(self) -> list[str]:
        """Return the names of the columns; without names of one's own they are the first row."""
        names = list(self._columns) if self._columns is not None else self._header()
        self._num_columns = len(names)
        return names

    def rows(self) -> Iterator[tuple[int, list[str] | BadRow]]:
        while True:
            self._lines.taken.clear()
            try:
                values = next(self._csv, None) if self._is_quoting else self._split()
            except csv.Error as error:
                yield self._without_the_rest(self._said(error))
                continue
            if values is None:
                return
            if len(values) == self._num_columns:
                yield self._lines.first_of_row(), values
            elif any(not value.isspace() for value in values if value) or len(values) > 1:  # an empty line is no row
                yield self._without_the_rest(f"expected {self._num_columns} columns, got {len(values)}")

    def _without_the_rest(self, problem: str) -> tuple[int, BadRow]:
        """Return the first line of the row as a bad one; the lines behind it are read again, as rows."""
        number = self._lines.first_of_row()
        self._lines.give_back_all_but(1)
        return number, BadRow(f"{self._name}:{number}: {problem}")

    def _said(self, error: csv.Error) -> str:
        if len(self._lines.taken) > 1 or "unexpected end" in str(error):
            return (
                'expected every quote (") to be closed, got one that opens on this line and is not; double a quote '
                'that belongs to the text (""), or say --format tsv where quotes mean nothing'
            )
        return f"expected a separator behind a quoted cell: {error}"

    def _split(self) -> list[str] | None:
        line = next(self._lines, None)
        if line is None:
            return None
        return [_bare(cell) for cell in line.rstrip("\r\n").split(self.delimiter)]

    def _header(self) -> list[str]:
        with expecting("column names in UTF-8 (iconv converts a file)", f"{self._name}:{self._lines.number + 1}"):
            try:
                names = (next(self._csv, None) if self._is_quoting else self._split()) or []
            except csv.Error as error:
                raise ConfigError(f"{self._name}:{self._lines.first_of_row()}: {self._said(error)}") from error
            for name in names:
                name.encode()
                if "\0" in name:
                    raise ValueError(f"{name!r:.60} looks like UTF-16")
        return unique([name.strip() for name in names], self._name)

    def _found_delimiter(self, table: Table) -> str:
        first = next(self._lines, "")
        if (named := _SEPARATOR_LINE.fullmatch(first)) is not None:  # what Excel writes, and no row
            found = named[1]
            self._lines.give_back_all_but(1)
        else:
            found = "\t" if table.format == "tsv" else _sniffed(first, table.columns)
            if first:
                self._lines.give_back_all_but(0)
        self._lines.taken.clear()
        return table.delimiter or found


def _sniffed(line: str, columns: tuple[str, ...] | None) -> str:
    bare = _QUOTED.sub("", line)
    fitting = [candidate for candidate in CANDIDATES if columns and bare.count(candidate) == len(columns) - 1]
    present = [candidate for candidate in CANDIDATES if candidate in bare]
    return [*(candidate for candidate in fitting if candidate in bare), *present, ","][0]


def _bare(cell: str) -> str:
    inner = cell[1:-1]
    is_quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if is_quoted else cell
