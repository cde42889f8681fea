"""JSON lines: every line is an object with fields of its own."""

from collections.abc import Iterator
from typing import Any

import msgspec

from producers.files.formats.table import BadRow, Row, Table, opened_text
from stream.errors import ConfigError

__all__ = ["json_lines_rows"]


def json_lines_rows(table: Table) -> Iterator[tuple[int, Row | BadRow]]:
    """Yield every line that is not empty with its number.

    Raises:
        ConfigError: the file cannot be read, or is one JSON array instead of lines.
    """
    decoder = msgspec.json.Decoder(dict[str, Any])
    is_first = True
    with opened_text(table) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if is_first and line.lstrip().startswith(b"["):
                raise ConfigError(
                    f"{table.name}:{number}: expected one JSON object a line, got an array: jq -c '.[]' FILE makes "
                    "lines of it"
                )
            is_first = False
            try:
                yield number, decoder.decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                yield number, BadRow(f"{table.name}:{number}: expected one JSON object a line: {error}")
