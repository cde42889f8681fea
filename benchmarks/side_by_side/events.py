"""The one stream that both trees read: bundled events as bytes, among them malformed, repeated and late ones."""

import zlib
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from benchmarks.side_by_side.errors import CannotCompare
from producers import Event, dataset, encode_event, event_key
from producers.simulator.malformed import break_value

__all__ = ["DATASET", "NUM_PARTITIONS", "InRecord", "draw_records"]

DATASET = "online-retail"
NUM_PARTITIONS = 2
RATIOS = {"with an id": 0.7, "malformed": 0.02, "repeated": 0.03, "late": 0.02}
"""Share of the events that are so, each drawn by itself. One that is repeated has an id."""
MOST_LATE_MS = 86_400_000
DUPLICATE_WITHIN = 1_000
"""How many records later a repetition comes at most: within one batch, across batches, across the restart."""


class InRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record of the events topic."""

    partition: int
    key: bytes
    value: bytes
    timestamp_ms: int


def draw_records(num_events: int, seed: int = 1) -> list[InRecord]:
    """Return the first events of the bundled data set as records in stream order, the same for the same arguments.

    A record's timestamp is the newest event time before or at it. The repetitions come on top of `num_events`.

    Raises:
        CannotCompare: the data set has fewer events.
    """
    events = list(islice(dataset(DATASET).events(), num_events))
    if len(events) < num_events:
        raise CannotCompare(f"--events: expected at most {len(events)}, all that {DATASET} has, got {num_events}")
    rng = np.random.default_rng(seed)
    placed: list[tuple[float, InRecord]] = []
    newest_ms = 0
    for number, event in enumerate(events):
        newest_ms = max(newest_ms, event.ts or 0)
        has_id, is_malformed, is_repeated, is_late = rng.random(len(RATIOS)) < list(RATIOS.values())
        changes: dict[str, Any] = {"id": f"e{number}"} if has_id or is_repeated else {}
        if is_late:
            changes["ts"] = newest_ms - int(rng.integers(1, MOST_LATE_MS))
        record = _record(msgspec.structs.replace(event, **changes), newest_ms)
        if is_malformed:
            record = msgspec.structs.replace(record, value=break_value(record.value, rng))
        placed.append((number, record))
        if is_repeated:
            placed.append((number + float(rng.uniform(0, DUPLICATE_WITHIN)), record))
    return _in_order(placed)


def _record(event: Event, timestamp_ms: int) -> InRecord:
    key = event_key(event)
    return InRecord(zlib.crc32(key) % NUM_PARTITIONS, key, encode_event(event), timestamp_ms)


def _in_order(placed: list[tuple[float, InRecord]]) -> list[InRecord]:
    """Return the records by their place, none with a timestamp before that of the one before."""
    records: list[InRecord] = []
    newest_ms = 0
    for _, record in sorted(placed, key=lambda one: one[0]):
        newest_ms = max(newest_ms, record.timestamp_ms)
        records.append(msgspec.structs.replace(record, timestamp_ms=newest_ms))
    return records
