"""A file of events that has to be told how it is understood, as a table: by the reader of `millstream produce`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.quality.errors import QualityError
from millstream.terminal.reading_options import read_options
from producers.files.event_file import EventFile
from producers.files.read_options import ReadOptions
from stream.errors import ConfigError

__all__ = ["read_mapped_table", "reading"]

TEXTS = ("user", "item", "type", "session")
UNTYPED = "view"
"""The type of all events where the file tells none that is ours: a model needs one, and learns the same from any."""


def reading(preset: str | None, map_: list[str] | None, map_type: list[str] | None, **given: Any) -> ReadOptions | None:
    """Return how a file is understood, None where nothing was said.

    Raises:
        QualityError: a text is not of its form, or means nothing.
    """
    if preset is None and not map_ and not map_type and not any(given.values()):
        return None
    try:
        return read_options(preset, map_, map_type, None, **given)
    except ConfigError as error:
        raise QualityError(str(error)) from error


def read_mapped_table(path: Path, options: ReadOptions) -> pa.Table:
    """Return the events of a file as a table; `ts` is milliseconds.

    Raises:
        QualityError: the file cannot be read so, or a row is no event.
    """
    options = options if options.default_type is not None else replace(options, default_type=UNTYPED)
    columns: dict[str, list[Any]] = {name: [] for name in (*TEXTS, "ts")}
    try:
        for event in EventFile(path, options):
            for name, values in columns.items():
                values.append(getattr(event, name))
    except ConfigError as error:
        raise QualityError(str(error)) from error
    if not any(session is not None for session in columns["session"]):
        del columns["session"]
    kinds = {name: pa.int64() if name == "ts" else pa.string() for name in columns}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
