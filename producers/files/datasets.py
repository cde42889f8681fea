"""The bundled data sets by name, and any file by path; with the titles of the items."""

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from producers.event_encoding import DEFAULT_LIMITS
from producers.files.cells import context_value, to_id
from producers.files.event_file import EventFile, ReadOptions
from producers.files.event_files import EventFiles
from producers.files.formats.table import format_of
from producers.files.opening import expecting
from producers.files.rows import BadRow, column_names, read_rows, table_in
from stream.config.settings import EventSettings
from stream.errors import ConfigError

__all__ = ["DATASETS", "Dataset", "dataset", "read_titles"]

DATASETS = {"online-retail": "online_retail", "otto-mini": "otto_mini"}
"""Name of a bundled data set to its folder in `producers/data`, where a README tells its origin and licence."""


class Dataset(NamedTuple):
    """Where a data set lies."""

    name: str
    events_paths: tuple[Path, ...]
    """One file, or the files of a folder in the order of their names."""
    items_path: Path | None

    def events(self, options: ReadOptions | None = None, *, limits: EventSettings = DEFAULT_LIMITS) -> EventFiles:
        """Return the events, to be read lazily in file order.

        Args:
            options: how the columns are understood.
            limits: what the worker accepts, when its settings were changed.
        """
        return EventFiles([EventFile(path, options, limits=limits) for path in self.events_paths])

    def titles(self) -> dict[str, str]:
        """Return item id to title, empty when no titles are known."""
        return read_titles(self.items_path) if self.items_path else {}


def dataset(name: str | Path, format: str | None = None) -> Dataset:
    """Return a bundled data set, or the one in a file or folder of one's own.

    Args:
        name: `online-retail`, `otto-mini`, an event file, a folder with `events.parquet` (and `items.parquet`), or a
            folder of event files, which are read in the order of their names. What begins with `.` or `_` (`_SUCCESS`)
            is none.
        format: that of the files, where their endings do not tell.

    Raises:
        ConfigError: there is no such data set or file, or a folder holds something else.
    """
    if str(name) in DATASETS:
        folder = Path(str(files("producers") / "data" / DATASETS[str(name)]))
        return Dataset(str(name), (folder / "events.parquet",), folder / "items.parquet")
    path = Path(name)
    expected = f"a file or one of {', '.join(DATASETS)}"
    with expecting(expected, name):  # such as a name too long for any file
        if path.is_dir():
            return _from_folder(path, format)
        if not path.exists():
            raise ConfigError(f"{name}: expected {expected}; there is no such file")
    return Dataset(path.name, (path,), None)


def read_titles(path: Path) -> dict[str, str]:
    """Return item id to title from a file with the columns `item` and `title`; items without a title are left out.

    JSON lines in the format of the topic `items` will do.

    Raises:
        ConfigError: the columns are not there, or a row is damaged.
    """
    table = table_in(path)
    names = column_names(table) if table.is_file else None
    if names is not None and not {"item", "title"} <= set(names):
        raise ConfigError(f"{path}: expected columns item and title, got {', '.join(names)}")
    titles: dict[str, str] = {}
    for number, row in read_rows(table):
        if isinstance(row, BadRow):
            raise row
        if "item" not in row:
            raise ConfigError(f"{path}:{number}: expected an item, got {', '.join(row):.200}")
        with expecting("an item and its title", f"{path}:{number}"):
            item, title = to_id(row["item"]), context_value("title", row.get("title"))
            if item is None:
                raise ValueError("expected an id, got nothing")
        if title is not None:
            titles[item] = str(title)
    return titles


def _from_folder(folder: Path, format: str | None) -> Dataset:
    events_path, items_path = folder / "events.parquet", folder / "items.parquet"
    items = items_path if items_path.exists() else None
    if events_path.exists():
        return Dataset(folder.name, (events_path,), items)
    found = [path for path in _files_in(folder) if path != items_path]
    if not found:
        raise ConfigError(f"{folder}: expected events.parquet or files of events in this folder, found none")
    for path in found:
        if format is None and format_of(path) is None:
            raise ConfigError(
                f"{path}: expected files of events only in {folder}, got one whose ending says no format: name the "
                "files that you mean, or the format of all of them with --format"
            )
    return Dataset(folder.name, tuple(found), items)


def _files_in(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    return [file for path in inside for file in (_files_in(path) if path.is_dir() else [path])]
