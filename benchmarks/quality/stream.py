"""A file of events as arrays: users and items are rows in the order in which they first come."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.quality.errors import QualityError
from benchmarks.quality.mapped_table import read_mapped_table
from benchmarks.quality.text_table import read_text_table
from producers.files.cells import EXACT_BELOW
from producers.files.formats.table import format_of
from producers.files.read_options import ReadOptions
from stream.wire.event_time import likely_unit

__all__ = ["Events", "Stream", "arranged", "read_stream", "shuffle_ties"]

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

COLUMNS = ("user", "item", "ts", "type", "session", "value")
NEEDED = ("user", "item", "ts")
IDS = ("user", "item", "session")
MAX_TYPES = 127
"""The learner names types in 8 bits."""
MS_OF_UNIT = {"s": (1_000.0, "seconds"), "us": (0.001, "microseconds"), "ns": (0.000_001, "nanoseconds")}
"""Numbers that are all likely times in such a unit are read in it, others as milliseconds, as they may be relative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Consecutive events of a stream; B is their number."""

    user_rows: Int64
    """``[B]`` int64."""
    item_rows: Int64
    """``[B]`` int64."""
    event_types: npt.NDArray[np.int8]
    """``[B]`` int8."""
    session_rows: Int64
    """``[B]`` int64: the session, or the user where the file names no sessions."""
    times_ms: Int64
    """``[B]`` int64."""
    basket_sizes: Int64
    """``[B]`` int64: how many events of the user right before this one are of its session, or of its time where the
    file names no sessions."""
    user_ordinals: Int64
    """``[B]`` int64: how many events of the user came before in the stream; 0 is a cold user."""
    is_repeat: Bool
    """``[B]``: the user had an event of this item before."""

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, places: Int64 | slice) -> "Events":
        """Return the events at ``places``."""
        return Events(**{field.name: getattr(self, field.name)[places] for field in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """All events of a run, in order, and what was found on the way in."""

    name: str
    events: Events
    has_sessions: bool
    num_users: int
    num_items: int
    num_sessions: int
    is_last: Bool
    """``[events]``: the last event of its user."""
    facts: dict[str, Any]
    """What the report says of the file: counts, how time was read, what was left out."""

    def __len__(self) -> int:
        return len(self.events)


def read_stream(
    path: Path,
    *,
    items: Path | None = None,
    only: str | None = None,
    limit: int | None = None,
    options: ReadOptions | None = None,
) -> Stream:
    """Return the events of ``path``, stably sorted by time.

    Args:
        path: parquet, CSV or JSON lines with the columns ``user``, ``item``, ``ts`` and optionally ``type``,
            ``session`` and ``value`` (which no model uses).
        items: the catalogue: events of items that are not in its column ``item`` are left out, and of those whose
            ``merchandise`` is false where it has that column.
        only: keep events of this type.
        limit: keep the first so many events of what is left.
        options: how the file is understood, where it has not these columns.

    Raises:
        QualityError: no such file, a column is missing, or nothing is left.
    """
    table = _read(path, COLUMNS) if options is None else read_mapped_table(path, options)
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise QualityError(
            f"{path}: expected the columns user, item and ts, got no {', '.join(missing)} "
            f"(it has {', '.join(table.column_names) or 'none of them'}): say which they are with --map or --preset"
        )
    facts: dict[str, Any] = {"file": path.name, "num_rows_read": table.num_rows}
    table = _without_gaps(table, facts)
    if only is not None:
        table = _of_type(table, only, path, facts)
    if items is not None:
        table = _of_catalogue(table, items, facts)
    times_ms, facts["ts_read_as"] = _times_ms(table["ts"], path)
    facts["was_sorted_by_ts"] = bool((np.diff(times_ms) >= 0).all())
    if not facts["was_sorted_by_ts"]:
        order = np.argsort(times_ms, kind="stable")
        table, times_ms = table.take(pa.array(order)), times_ms[order]
    if limit is not None:
        table, times_ms = table.slice(0, limit), times_ms[:limit]
    if not table.num_rows:
        raise QualityError(f"{path}: expected events, got none that are left after all conditions")
    return _stream(path.stem if path.stem != "events" else path.resolve().parent.name, table, times_ms, facts)


def shuffle_ties(stream: Stream, seed: int) -> Stream:
    """Return the stream with events of the same time in random order; baskets follow the new order."""
    chance = np.random.default_rng(seed).random(len(stream))
    events = stream.events.take(np.lexsort((chance, stream.events.times_ms)))
    # Rows are given anew: what first comes, comes first, and what is known so far is a prefix of the rows.
    columns: dict[str, npt.NDArray[Any]] = {
        name: _first_come(getattr(events, name)) for name in ("user_rows", "item_rows", "session_rows")
    }
    columns |= {"event_types": events.event_types, "times_ms": events.times_ms}
    return arranged(stream.name, columns, stream.facts, has_sessions=stream.has_sessions)


def _read(path: Path, names: Sequence[str]) -> pa.Table:
    if not path.is_file():
        raise QualityError(f"{path}: expected a file of events, got nothing there: check the path")
    try:
        if format_of(path) not in (None, "parquet"):
            return read_text_table(path, names)
        held = pq.read_schema(path).names
        return _with_whole_ids(pq.read_table(path, columns=[name for name in names if name in held]), path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise QualityError(f"{path}: expected parquet, .csv or .jsonl, got something else ({reason})") from None


def _with_whole_ids(table: pa.Table, path: Path) -> pa.Table:
    """Return the table, with ids as text where they are stored as bytes."""
    for place, name in enumerate(table.column_names):
        kind = table[name].type
        if name in IDS and pa.types.is_floating(kind) and (pc.max(pc.abs(table[name])).as_py() or 0) >= EXACT_BELOW:
            raise QualityError(
                f"{path}: {name}: expected ids, got floats of 2^53 and more, whose last digits may be lost: store "
                "integers or text"
            )
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            table = table.set_column(place, name, table[name].cast(pa.large_string()))
    return table


def _without_gaps(table: pa.Table, facts: dict[str, Any]) -> pa.Table:
    for name in NEEDED:
        kept = table.filter(pc.is_valid(table[name]))
        facts[f"num_left_out_without_{name}"] = table.num_rows - kept.num_rows
        table = kept
    return table


def _of_type(table: pa.Table, only: str, path: Path, facts: dict[str, Any]) -> pa.Table:
    if "type" not in table.column_names:
        raise QualityError(f"{path}: --type {only} needs a column type, got none: leave --type out")
    kept = table.filter(pc.equal(table["type"].cast(pa.string()), only))
    if not kept.num_rows:
        held = ", ".join(str(value) for value in table["type"].unique().to_pylist()[:10])
        raise QualityError(f"{path}: expected events of type {only}, got only {held}: choose one of these")
    facts["num_left_out_of_other_types"] = table.num_rows - kept.num_rows
    return kept


def _of_catalogue(table: pa.Table, path: Path, facts: dict[str, Any]) -> pa.Table:
    catalogue = _read(path, ("item", "merchandise"))
    if "item" not in catalogue.column_names:
        raise QualityError(f"{path}: expected a column item, got none: rename it")
    if "merchandise" in catalogue.column_names:
        catalogue = catalogue.filter(catalogue["merchandise"])
    listed = catalogue["item"].cast(table["item"].type).combine_chunks()
    kept = table.filter(pc.is_in(table["item"], value_set=listed))
    facts["num_items_in_catalogue"] = catalogue.num_rows
    facts["num_left_out_not_in_catalogue"] = table.num_rows - kept.num_rows
    return kept


def _times_ms(column: pa.ChunkedArray, path: Path) -> tuple[Int64, str]:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for zone in ("UTC", None):  # texts with a zone, then those without, which are read as UTC
            try:
                return _int64(column.cast(pa.timestamp("ms", zone)).cast(pa.int64())), "texts of timestamps"
            except pa.ArrowInvalid:
                continue
        raise QualityError(f"{path}: ts: expected milliseconds or timestamps, got texts that are neither")
    if pa.types.is_timestamp(kind):
        return _int64(column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())), f"timestamps ({kind})"
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise QualityError(f"{path}: ts: expected int64 milliseconds or timestamps, got {kind}")
    values = np.asarray(column.to_numpy())
    units = {likely_unit(float(bound)) for bound in (values.min(), values.max())} if len(values) else set()
    unit = units.pop() if len(units) == 1 else None
    unit = "s" if unit is None and pa.types.is_floating(kind) else unit
    if unit in MS_OF_UNIT:
        factor, name = MS_OF_UNIT[unit]
        return np.asarray(np.round(values * factor), np.int64), f"{name} since the epoch"
    return values.astype(np.int64), "milliseconds"


def _int64(column: pa.ChunkedArray) -> Int64:
    return np.asarray(column.to_numpy(), np.int64)


def _stream(name: str, table: pa.Table, times_ms: Int64, facts: dict[str, Any]) -> Stream:
    has_sessions = "session" in table.column_names and table["session"].null_count == 0
    user_rows = _encoded(table["user"])
    types = _encoded(table["type"]) if "type" in table.column_names else np.zeros(len(user_rows), np.int64)
    if types.max(initial=0) > MAX_TYPES:
        raise QualityError(f"type: expected at most {MAX_TYPES + 1} kinds, got {types.max() + 1}: choose with --type")
    if "type" in table.column_names:
        facts["types"] = {str(row["values"]): row["counts"] for row in table["type"].value_counts().to_pylist()}
    columns: dict[str, npt.NDArray[Any]] = {
        "user_rows": user_rows,
        "item_rows": _encoded(table["item"]),
        "event_types": types.astype(np.int8),
        "session_rows": _encoded(table["session"]) if has_sessions else user_rows,
        "times_ms": times_ms,
    }
    return arranged(name, columns, facts, has_sessions=has_sessions)


def arranged(name: str, columns: dict[str, npt.NDArray[Any]], facts: dict[str, Any], *, has_sessions: bool) -> Stream:
    """Return the stream of these columns of events in order, with all that follows from the order."""
    users, items, times_ms = columns["user_rows"], columns["item_rows"], columns["times_ms"]
    num_users, num_items, num_events = int(users.max()) + 1, int(items.max()) + 1, len(users)
    is_last, is_repeat = np.zeros(num_events, np.bool_), np.ones(num_events, np.bool_)
    is_last[num_events - 1 - np.unique(users[::-1], return_index=True)[1]] = True
    is_repeat[np.unique(users * num_items + items, return_index=True)[1]] = False
    events = Events(
        **columns,
        basket_sizes=_run_lengths(users, columns["session_rows"] if has_sessions else times_ms),
        user_ordinals=_run_lengths(users, users),
        is_repeat=is_repeat,
    )
    facts = {
        **facts,
        "num_events": num_events,
        "num_users": num_users,
        "num_items": num_items,
        "num_repeats": int(is_repeat.sum()),
        "has_sessions": has_sessions,
        "num_events_of_the_ts_of_the_one_before": int((np.diff(times_ms) == 0).sum()),
        "first_ts_ms": int(times_ms[0]),
        "last_ts_ms": int(times_ms[-1]),
    }
    return Stream(
        name=name,
        events=events,
        has_sessions=has_sessions,
        num_users=num_users,
        num_items=num_items,
        num_sessions=int(columns["session_rows"].max()) + 1,
        is_last=is_last,
        facts=facts,
    )


def _run_lengths(users: Int64, keys: Int64) -> Int64:
    """Return how many events of the same key the same user had in a row right before each event."""
    order = np.argsort(users, kind="stable")
    starts = np.ones(len(users), np.bool_)
    starts[1:] = (users[order][1:] != users[order][:-1]) | (keys[order][1:] != keys[order][:-1])
    places = np.arange(len(users))
    sizes = np.empty(len(users), np.int64)
    sizes[order] = places - np.maximum.accumulate(np.where(starts, places, 0))
    return sizes


def _encoded(column: pa.ChunkedArray) -> Int64:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    # A column that came with a dictionary keeps that one's order.
    return _first_come(np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64))


def _first_come(rows: Int64) -> Int64:
    values, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    places = np.empty(len(values), np.int64)
    places[np.argsort(first)] = np.arange(len(values))
    return places[inverse]
