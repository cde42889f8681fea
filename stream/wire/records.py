"""The plain values that cross the border between Millstream and the log: records with bytes in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Headers", "NO_TIMESTAMP", "OutRecord", "Record", "size_bytes", "until_bytes"]

NO_TIMESTAMP = -1
"""The record carries no timestamp (Kafka's own value for it)."""

Headers = list[tuple[str, bytes | None]]
"""Names and values; Kafka allows a header without a value."""


class Record(NamedTuple):
    """One record as read from the log. Nothing in it has been looked at yet.

    A named tuple, not a dataclass: thousands are made a second.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record to be written in the transaction of a micro-batch."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    timestamp_ms: int | None = None
    """None: the time of writing."""
    source_partition: int | None = None
    """Where the record that this one tells of was read. A record without a key is written to the partition of this
    number, modulo how many there are; one with a key goes where its key sends it."""


def size_bytes(record: Record) -> int:
    """Return the length of key, value and headers together."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def until_bytes(records: Sequence[Record], max_bytes: int) -> int:
    """Return how many of the records, in their order, it takes to come to `max_bytes`; all, if they are fewer bytes."""
    total = 0
    for number, record in enumerate(records, start=1):
        total += size_bytes(record)
        if total >= max_bytes:
            return number
    return len(records)
