"""Skipping repeated events: the newest ids of every partition, in a bounded window."""

from collections import deque

__all__ = ["Deduplicator"]


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

    def __len__(self) -> int:
        return sum(len(seen) for seen in self._seen.values())
