"""Hashes of what went in and what came out: how recovery and verification know that two runs are one.

They guard against lost, repeated and changed records, not against an attacker. All are BLAKE2b, the same on every
machine, and written as 16 hex digits.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import TypeVar

from stream.wire.cloud_events import decisive_headers
from stream.wire.records import Headers, OutRecord, Record
from stream.wire.schema import FIRST_DECODE_VERSION, FIRST_MODEL_VERSION, JournalEntry

__all__ = ["GENESIS", "add_hashes", "add_records", "chained", "hex_digits", "lists_hash", "record_hash"]

GENESIS = "0" * 16
"""The chain before the first entry."""
_MODULUS = 1 << 64
_NO_BYTES = -1
_Value = TypeVar("_Value")


def record_hash(record: Record) -> int:
    """Return 64 bits that stand for the place, timestamp, key and value of a record, and its CloudEvents headers."""
    key, value = record.key, record.value
    head = struct.pack(
        ">iqqii",
        record.partition,
        record.offset,
        record.timestamp_ms,
        _NO_BYTES if key is None else len(key),
        _NO_BYTES if value is None else len(value),
    )
    decisive = _header_bytes(decisive_headers(record)) if record.headers else b""
    return int.from_bytes(blake2b(head + (key or b"") + (value or b"") + decisive, digest_size=8).digest(), "big")


def _header_bytes(headers: Headers) -> bytes:
    return b"".join(
        struct.pack(">ii", len(name.encode()), _NO_BYTES if value is None else len(value))
        + name.encode()
        + (value or b"")
        for name, value in headers
    )


def add_records(total: int, records: Iterable[Record]) -> int:
    """Return the multiset hash `total` with these records added: a sum, so how often one comes matters, but not when.

    Source: Clarke et al., "Incremental Multiset Hash Functions", ASIACRYPT 2003 (MSet-Add-Hash).
    """
    return add_hashes(total, map(record_hash, records))


def add_hashes(total: int, hashes: Iterable[int]) -> int:
    """Return the multiset hash `total` with records of these hashes added; see `add_records`."""
    return (total + sum(hashes)) % _MODULUS


def hex_digits(value: int) -> str:
    """Return a 64-bit hash as 16 hex digits."""
    return f"{value:016x}"


def lists_hash(lists: Sequence[OutRecord]) -> str:
    """Return the hash of keys and values of published lists, in their order."""
    whole = blake2b(digest_size=8)
    for record in lists:
        key, value = record.key or b"", record.value or b""
        whole.update(struct.pack(">ii", len(key), len(value)) + key + value)
    return whole.hexdigest()


def chained(before: str, entry: JournalEntry) -> str:
    """Return the chain after `entry`, of which everything counts but `counts` and `checkpoint`, and its own `chain`.

    Args:
        before: the chain of the entry before, or `GENESIS`.
        entry: what was decided and what came of it.
    """
    ranges = ",".join(f"{number}:{span.first}-{span.next}" for number, span in _by_text(entry.partitions))
    positions = ",".join(f"{number}:{offset}" for number, offset in _by_text(entry.positions))
    excluded = ",".join(f"{number}:{offsets}" for number, offsets in _by_text(entry.excluded))
    versions = entry.model_version, entry.decode_version
    parts = (
        before,
        entry.app,
        entry.topic,
        str(entry.epoch),
        ranges,
        positions,
        excluded,
        str(entry.decoded_at_ms),
        str(entry.generated_at_ms),
        entry.config_hash,
        str(entry.origin),
        str(entry.settings_since),
        entry.records_hash,
        entry.applied_hash,
        entry.lists_hash,
        *([entry.effort] if entry.effort != "normal" else []),  # entries of before there was a choice have none
        *([f"versions {versions}"] if versions != (FIRST_MODEL_VERSION, FIRST_DECODE_VERSION) else []),
    )
    return blake2b("\x00".join(parts).encode(), digest_size=8).hexdigest()


def _by_text(numbered: Mapping[int, _Value]) -> list[tuple[int, _Value]]:
    """Return the items in the order of their numbers as text, which they were when the first chains were made."""
    return sorted(numbered.items(), key=lambda item: str(item[0]))
