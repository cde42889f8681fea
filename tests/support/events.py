"""Small builders that the tests of the stream share."""

import json
from typing import Any

import msgspec

from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.durability.recovery import Recovery
from stream.failpoints import unwatched
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Pipeline
from stream.wire.records import Record
from stream.wire.schema import JournalEntry

NOW_MS = 1_700_000_000_000


class ManualClock:
    """A clock that goes on only when it is told to; seconds."""

    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


def event_bytes(user: str, item: str, type: str = "purchase", **fields: Any) -> bytes:
    """Return the JSON of one event."""
    return json.dumps({"user": user, "item": item, "type": type, "ts": NOW_MS, **fields}).encode()


def record(value: bytes | None, *, partition: int = 0, offset: int = 0, **fields: Any) -> Record:
    """Return one record of the events topic."""
    given = {"key": None, "headers": [], "timestamp_ms": NOW_MS, **fields}
    return Record("events", partition, offset, given["key"], value, given["headers"], given["timestamp_ms"])


def small_settings(**sections: dict[str, Any]) -> Settings:
    """Return settings for a test: batches of 8, lists of 3."""
    tree: dict[str, dict[str, Any]] = {"batching": {"max_events": 8}, "model": {"k": 3, "sub_step_events": 4}}
    for section, values in sections.items():
        tree.setdefault(section, {}).update(values)
    return Settings.model_validate(tree)


def memory_pipeline(
    log: MemoryLog,
    settings: Settings,
    transport: MemoryTransport | None = None,
    store: CheckpointStore | None = None,
    **options: Any,
) -> Pipeline:
    """Return a pipeline that has taken the log over and rebuilt its state."""
    transport = transport or MemoryTransport(log)
    watch = options.get("watch", unwatched)
    recovery = Recovery(
        settings, lambda: MemoryHistory(log), store, lambda: WorkerState(settings, transport.partitions), watch
    )
    return Pipeline(settings, transport, recovery, **options)


def journal_entry(**fields: Any) -> JournalEntry:
    """Return an entry of a batch without records, with other fields where they are given."""
    first = JournalEntry(
        epoch=7,
        app="millstream-0",
        topic="events",
        partitions={},
        positions={},
        counts={},
        decoded_at_ms=NOW_MS,
        generated_at_ms=NOW_MS,
        config_hash="",
        origin=0,
        settings_since=0,
        records_hash="",
        applied_hash="",
        lists_hash="",
        chain="",
    )
    return msgspec.structs.replace(first, **fields)
