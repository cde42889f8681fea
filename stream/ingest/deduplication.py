"""Skipping repeated events: the newest ids of every partition, each with what its event was, in a bounded window.

A repetition is the same id and the same user, item, type and value. Another event under a known id is a fault of its
sender, such as a column `id` that names the user: it is learned, and counted apart.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt

from online_models import State, StateError
from stream.wire.schema import Event

__all__ = ["Deduplicator", "Sighting", "event_print"]

_PARTS: Mapping[str, type] = {
    "window": int,
    "partitions": np.ndarray,
    "lengths": np.ndarray,
    "ids": list,
    "prints": np.ndarray,
}
_ANY_EVENT = 0
"""The print of an id that was remembered by a version that knew ids alone: whatever comes under it is a repetition."""


class Sighting(Enum):
    """What an event is by its id."""

    NEW = "new"
    REPETITION = "repetition"
    REUSED_ID = "reused id"
    """Another event had this id."""


def event_print(event: Event) -> int:
    """Return 64 bits, never 0, that stand for user, item, type and value.

    Not for `ts`: the retry of an event without one comes with another record's time.
    """
    told = msgspec.json.encode((event.user, event.item, event.type, event.value))
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "big") or 1


class Deduplicator:
    """Remembers the newest event ids of every partition.

    A repeated event lands in the partition of its first copy, because both have the user's key; so one partition's
    window never needs another's.

    Args:
        window: events remembered per partition; 0: nothing is a repetition.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._seen = dict[int, _Window]()

    def sight(self, partition: int, event: Event) -> Sighting:
        """Return what the event is; what is no repetition is remembered, and the oldest forgotten when it is full."""
        if event.id is None or not self._window:
            return Sighting.NEW
        window = self._seen.get(partition)
        if window is None:
            window = self._seen[partition] = _Window()
        return window.sight(event.id, event_print(event), self._window)

    def state(self) -> State:
        """Return a copy of all windows: the ids of one partition after another, by number, each oldest first.

        What was loaded without prints has none until events with ids come, and is what it was.
        """
        partitions = sorted(self._seen)
        ids: list[str] = []
        prints: list[int] = []
        for partition in partitions:
            ids.extend(self._seen[partition].ids)
            prints.extend(self._seen[partition].prints)
        state: dict[str, State | np.ndarray | list[str] | int] = {
            "window": self._window,
            "partitions": np.array(partitions, np.int64),
            "lengths": np.array([len(self._seen[partition].ids) for partition in partitions], np.int64),
            "ids": ids,
        }
        return state | {"prints": np.array(prints, np.uint64)} if any(prints) else state

    def load(self, state: State) -> None:
        """Take over all windows of `state`; it stays the caller's. One without prints is of a version that had none.

        Raises:
            StateError: the state is of another window, or no state of a deduplicator. Nothing has changed then.
        """
        if "prints" not in state and isinstance(ids := state.get("ids"), list):
            state = {**state, "prints": np.full(len(ids), _ANY_EVENT, np.uint64)}
        partitions, ends, ids, prints = _checked(state, self._window)
        seen: dict[int, _Window] = {}
        for partition, start, end in zip(partitions, [0, *ends], ends, strict=False):
            seen[partition] = window = _Window()
            for event_id, printed in zip(ids[start:end], prints[start:end], strict=True):
                if window.sight(event_id, printed, self._window) is Sighting.REPETITION:
                    raise StateError(f"dedup/ids: expected every event of partition {partition} once, got repetitions")
        self._seen = seen

    def __len__(self) -> int:
        return sum(len(window.ids) for window in self._seen.values())


class _Window:
    """The newest events of one partition, oldest first; of most ids there is one, so only the others have a set."""

    def __init__(self) -> None:
        self.ids = deque[str]()
        self.prints = deque[int]()
        self._prints_of = dict[str, int | set[int]]()

    def sight(self, event_id: str, printed: int, most: int) -> Sighting:
        known = self._prints_of.get(event_id)
        if known is None:
            self._prints_of[event_id] = printed
        elif isinstance(known, int):
            if known in (printed, _ANY_EVENT):
                return Sighting.REPETITION
            self._prints_of[event_id] = {known, printed}
        else:
            if printed in known or _ANY_EVENT in known:
                return Sighting.REPETITION
            known.add(printed)
        self.ids.append(event_id)
        self.prints.append(printed)
        if len(self.ids) > most:
            self._forget(self.ids.popleft(), self.prints.popleft())
        return Sighting.NEW if known is None else Sighting.REUSED_ID

    def _forget(self, event_id: str, printed: int) -> None:
        known = self._prints_of[event_id]
        if isinstance(known, int):
            del self._prints_of[event_id]
            return
        known.remove(printed)
        if len(known) == 1:
            self._prints_of[event_id] = known.pop()


def _checked(state: State, window: int) -> tuple[list[int], list[int], list[str], list[int]]:
    """Return the partitions, where the ids of each end, the ids and their prints."""
    got = {name: type(value) for name, value in state.items()}
    for name in sorted(got.keys() | _PARTS):
        if got.get(name) is not _PARTS.get(name):
            raise StateError(f"dedup/{name}: expected {_named(_PARTS.get(name))}, got {_named(got.get(name))}")
    if state["window"] != window:
        raise StateError(f"dedup/window: expected {window}, got {state['window']!r}")
    partitions, lengths = _whole_numbers(state, "partitions"), _whole_numbers(state, "lengths")
    if partitions != sorted(set(partitions)):
        raise StateError(f"dedup/partitions: expected rising numbers, got {partitions}")
    ids = state["ids"]
    assert isinstance(ids, list), type(ids)
    are_lengths = all(1 <= length <= window for length in lengths)
    if len(lengths) != len(partitions) or not are_lengths or sum(lengths) != len(ids):
        raise StateError(
            f"dedup/lengths: expected 1 to {window} for each of {len(partitions)} partitions, "
            f"{len(ids)} in all, got {lengths}"
        )
    prints = _whole_numbers(state, "prints", np.uint64)
    if len(prints) != len(ids):
        raise StateError(f"dedup/prints: expected one for each of {len(ids)} ids, got {len(prints)}")
    return partitions, np.cumsum(lengths, dtype=np.int64).tolist(), ids, prints


def _whole_numbers(state: State, name: str, dtype: npt.DTypeLike = np.int64) -> list[int]:
    numbers, wanted = state[name], np.dtype(dtype)
    assert isinstance(numbers, np.ndarray), type(numbers)
    if numbers.dtype != wanted or numbers.ndim != 1:
        raise StateError(f"dedup/{name}: expected a row of {wanted}, got {list(numbers.shape)} {numbers.dtype}")
    listed: list[int] = numbers.tolist()
    return listed


def _named(kind: type | None) -> str:
    return kind.__name__ if kind else "nothing"
