"""Ids become rows: the one place where names from outside enter the tables.

From here on everything is arrays. `stream/publish.py` is the way back.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from online_models import NO_ROW, Admission, Batch, Effort, IdIndex, PartitionedIndex, State, StateError
from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.ingest.decode import Decoded
from stream.ingest.deduplication import Deduplicator, Sighting
from stream.ingest.watermark import Watermark
from stream.wire.fingerprint import add_hashes
from stream.wire.records import Record
from stream.wire.schema import EVENT_TYPES, Event

__all__ = ["Encoded", "Encoder", "TouchedUsers"]

Int64 = npt.NDArray[np.int64]

_TYPE_INDEX = {name: index for index, name in enumerate(EVENT_TYPES)}


@dataclass(frozen=True, slots=True)
class TouchedUsers:
    """The users of a batch, one entry each, in the order of their newest event."""

    rows: npt.NDArray[np.int64]
    """`[R]` int64, rows of the user table."""
    ids: list[str]
    event_times_ms: npt.NDArray[np.int64]
    """`[R]` int64, newest event time of each in this batch."""
    records: list[Record]
    """The last record of each in this batch."""

    def that_know(self, newest_ms: npt.NDArray[np.int64]) -> "TouchedUsers":
        """Return them with the time of their newest event, which a batch of late events does not hold."""
        return replace(self, event_times_ms=np.maximum(self.event_times_ms, newest_ms))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch as arrays, and what is needed to publish it."""

    batch: Batch
    records: list[Record]
    """The record of each event of the batch."""
    records_hash: int
    """Multiset hash of these."""
    touched: TouchedUsers
    num_by_type: dict[str, int]
    """Events of the batch by type."""
    num_duplicates_by_type: dict[str, int]
    """Repeated events, which are not in the batch."""
    num_reused_ids: int
    """Events of the batch whose id another event has had."""
    num_split_users: int
    """Users that came to a partition while another one knew them: they have two histories from then on."""
    key_mismatches: dict[str, int]
    """Events whose record has no key (`missing`) or one that is not their user id (`other`)."""

    @property
    def num_duplicates(self) -> int:
        """Repeated events, which are not in the batch."""
        return sum(self.num_duplicates_by_type.values())


class Encoder:
    """Owns the id maps of users and items, the candidates for them, the stream's time and the de-duplication window.

    Args:
        settings: evidence, capacities, admission, expiry and the window.
        partitions: all partitions of the events topic, 0 to P - 1; user rows are interleaved by partition.

    Raises:
        RefusedToStart: a batch would not fit into one partition's share of the user rows.
    """

    def __init__(self, settings: Settings, partitions: Sequence[int]) -> None:
        share = settings.model.user_capacity // len(partitions)
        if share < settings.batching.max_events:
            raise RefusedToStart(
                f"model.user_capacity: each of {len(partitions)} partitions gets {share} user rows, fewer than "
                f"batching.max_events ({settings.batching.max_events}): raise the one or lower the other"
            )
        self.users = PartitionedIndex(len(partitions), settings.model.user_capacity)
        self.items = IdIndex(settings.model.item_capacity)
        self.admission = Admission(settings.model.item_admission_events, settings.model.item_capacity)
        self.watermark = Watermark()
        self.deduplicator = Deduplicator(settings.events.dedup_window)
        self._model = settings.model
        self._weights = np.array(settings.evidence.weights(), np.float32)
        self._owns = np.array([name in settings.evidence.owned for name in EVENT_TYPES], np.bool_)

    def encode(self, decoded: Decoded, effort: Effort = Effort.NORMAL) -> Encoded:
        """Return the batch of the events that are no repetitions. New ids get rows; old ones may lose theirs.

        An item that is not admitted yet has `NO_ROW`.
        """
        new, repeated, num_reused_ids = self._split(decoded)
        events = [decoded.events[position] for position in new]
        records = [decoded.records[position] for position in new]
        times_ms = [decoded.times_ms[position] for position in new]
        partitions = [record.partition for record in records]
        types = np.array([_TYPE_INDEX[event.type] for event in events], np.int8)
        now_ms = self.watermark.advance(times_ms)
        num_split_users = self._num_split(partitions, [event.user for event in events])
        user_rows, evicted_users = self.users.rows_for(partitions, [event.user for event in events], now_ms)
        item_rows, evicted_items = self._item_rows([event.item for event in events], self._weights[types] > 0, now_ms)
        expired_users, expired_items = self._expire()
        batch = Batch(
            user_rows=user_rows,
            item_rows=item_rows,
            event_types=types,
            times_ms=np.array(times_ms, np.int64),
            weights=self._weights[types],
            owns=self._owns[types],
            reset_user_rows=np.concatenate([evicted_users, expired_users]),
            reset_item_rows=np.concatenate([evicted_items, expired_items]),
            effort=effort,
        )
        return Encoded(
            batch=batch,
            records=records,
            records_hash=add_hashes(0, (decoded.hashes[position] for position in new)),
            touched=_touched(user_rows, [event.user for event in events], times_ms, records),
            num_by_type=Counter(event.type for event in events),
            num_duplicates_by_type=Counter(decoded.events[position].type for position in repeated),
            num_reused_ids=num_reused_ids,
            num_split_users=num_split_users,
            key_mismatches=_key_mismatches(events, records),
        )

    def _item_rows(self, ids: list[str], counts: npt.NDArray[np.bool_], now_ms: int) -> tuple[Int64, Int64]:
        """Return the row of each item `[B]`, `NO_ROW` of one that is not admitted, and the rows of those that left."""
        passes = self.admission.admit(ids, counts, lambda id: self.items.get(id) is not None)
        rows = np.full(len(ids), NO_ROW, np.int64)
        rows[passes], evicted = self.items.rows_for([ids[place] for place in np.flatnonzero(passes)], now_ms)
        return rows, evicted

    def _expire(self) -> tuple[Int64, Int64]:
        """Return the rows of users and of items that were unseen for too long; none of this batch is among them."""
        model, none = self._model, np.empty(0, np.int64)
        users_ms = self.watermark.horizon_ms(model.user_ttl_seconds)
        items_ms = self.watermark.horizon_ms(model.item_ttl_seconds)
        return (
            none if users_ms is None else self.users.expire(users_ms),
            none if items_ms is None else self.items.expire(items_ms, model.item_floor),
        )

    def state(self) -> State:
        """Return a copy of who owns which row, of who may soon, of the time, and of the ids in the window."""
        return {
            "users": self.users.state(),
            "items": self.items.state(),
            "admission": self.admission.state(),
            "watermark": self.watermark.state(),
            "deduplicator": self.deduplicator.state(),
        }

    def load(self, state: State) -> None:
        """Take over a copy, into an encoder that has seen nothing yet.

        Raises:
            StateError: it was made with other capacities, another window or another number of partitions.
        """
        parts: dict[str, IdIndex | PartitionedIndex | Admission | Watermark | Deduplicator] = {
            "users": self.users,
            "items": self.items,
            "admission": self.admission,
            "watermark": self.watermark,
            "deduplicator": self.deduplicator,
        }
        if set(state) != set(parts):
            raise StateError(f"encoder: expected the parts {sorted(parts)}, got {sorted(state)}")
        for name, part in parts.items():
            inner = state[name]
            if not isinstance(inner, Mapping):
                raise StateError(f"encoder/{name}: expected parts, got {type(inner).__name__}")
            part.load(inner)

    def _split(self, decoded: Decoded) -> tuple[list[int], list[int], int]:
        """Return the places of the events that are no repetitions, of those that are, and how many reuse an id."""
        new: list[int] = []
        repeated: list[int] = []
        num_reused = 0
        for position, (event, record) in enumerate(zip(decoded.events, decoded.records, strict=True)):
            sighting = self.deduplicator.sight(record.partition, event)
            (repeated if sighting is Sighting.REPETITION else new).append(position)
            num_reused += sighting is Sighting.REUSED_ID
        return new, repeated, num_reused

    def _num_split(self, partitions: list[int], ids: list[str]) -> int:
        """Return how often a user comes to a partition without having a row there, and is known in another."""
        arrived: dict[str, set[int]] = {}
        for partition, user in zip(partitions, ids, strict=True):
            if self.users.get(partition, user) is None:
                arrived.setdefault(user, set()).add(partition)
        everywhere = range(self.users.num_partitions)
        return sum(
            len(here) - all(self.users.get(partition, user) is None for partition in everywhere)
            for user, here in arrived.items()
        )


def _key_mismatches(events: list[Event], records: list[Record]) -> dict[str, int]:
    pairs = zip(events, records, strict=True)
    wrong = [record.key for event, record in pairs if record.key != event.user.encode("utf-8")]
    return {"missing": wrong.count(None), "other": len(wrong) - wrong.count(None)}


def _touched(
    user_rows: npt.NDArray[np.int64], user_ids: list[str], times_ms: list[int], records: list[Record]
) -> TouchedUsers:
    last: dict[int, int] = {}
    newest_ms: dict[int, int] = {}
    for position, row in enumerate(user_rows.tolist()):
        last.pop(row, None)  # back to the end: the order is that of the newest event
        last[row] = position
        newest_ms[row] = max(newest_ms.get(row, 0), times_ms[position])
    return TouchedUsers(
        rows=np.fromiter(last, np.int64, len(last)),
        ids=[user_ids[position] for position in last.values()],
        event_times_ms=np.array([newest_ms[row] for row in last], np.int64),
        records=[records[position] for position in last.values()],
    )
