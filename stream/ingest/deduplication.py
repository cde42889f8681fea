"""Skipping repeated events: the newest ids of every partition, in a bounded window."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from online_models import State, StateError

__all__ = ["Deduplicator"]

_PARTS: Mapping[str, type] = {"window": int, "partitions": np.ndarray, "lengths": np.ndarray, "ids": list}


class Deduplicator:
    """Remembers the newest event ids of every partition.

    A repeated event lands in the partition of its first copy, because both have the user's key; so one partition's
    window never needs another's.

    Args:
        window: ids remembered per partition; 0: nothing is a repetition.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        # Not one OrderedDict: copying its ids for a checkpoint takes nine times as long, adding one nearly twice.
        self._seen: dict[int, set[str]] = {}
        self._oldest_first: dict[int, deque[str]] = {}

    def is_repetition(self, partition: int, event_id: str | None) -> bool:
        """Return True when the id is in the window; otherwise remember it, and forget the oldest when it is full."""
        if event_id is None or not self._window:
            return False
        seen = self._seen.setdefault(partition, set())
        if event_id in seen:
            return True
        oldest_first = self._oldest_first.setdefault(partition, deque())
        seen.add(event_id)
        oldest_first.append(event_id)
        if len(seen) > self._window:
            seen.remove(oldest_first.popleft())
        return False

    def state(self) -> State:
        """Return a copy of all windows: the ids of one partition after another, by number, each oldest first."""
        partitions = sorted(self._oldest_first)
        ids: list[str] = []
        for partition in partitions:
            ids.extend(self._oldest_first[partition])
        return {
            "window": self._window,
            "partitions": np.array(partitions, np.int64),
            "lengths": np.array([len(self._seen[partition]) for partition in partitions], np.int64),
            "ids": ids,
        }

    def load(self, state: State) -> None:
        """Take over all windows of `state`; it stays the caller's.

        Raises:
            StateError: the state is of another window, or no state of a deduplicator. Nothing has changed then.
        """
        partitions, ends, ids = _checked(state, self._window)
        windows = {p: ids[start:end] for p, start, end in zip(partitions, [0, *ends], ends, strict=False)}
        seen = {partition: set(window) for partition, window in windows.items()}
        for partition, window in windows.items():
            if len(seen[partition]) < len(window):
                raise StateError(f"dedup/ids: expected every id of partition {partition} once, got repetitions")
        self._seen = seen
        self._oldest_first = {partition: deque(window) for partition, window in windows.items()}

    def __len__(self) -> int:
        return sum(len(seen) for seen in self._seen.values())


def _checked(state: State, window: int) -> tuple[list[int], list[int], list[str]]:
    """Return the partitions, where the ids of each end, and the ids."""
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
    return partitions, np.cumsum(lengths, dtype=np.int64).tolist(), ids


def _whole_numbers(state: State, name: str) -> list[int]:
    numbers = state[name]
    assert isinstance(numbers, np.ndarray), type(numbers)
    if numbers.dtype != np.int64 or numbers.ndim != 1:
        raise StateError(f"dedup/{name}: expected a row of int64, got {list(numbers.shape)} {numbers.dtype}")
    listed: list[int] = numbers.tolist()
    return listed


def _named(kind: type | None) -> str:
    return kind.__name__ if kind else "nothing"
