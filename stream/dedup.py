"""Skipping repeated events: the newest ids of every partition, in a bounded window."""

from collections import OrderedDict

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
        self._seen: dict[int, OrderedDict[str, None]] = {}

    def is_repetition(self, partition: int, event_id: str | None) -> bool:
        """Return True when the id is in the window; otherwise remember it, and forget the oldest when it is full."""
        if event_id is None or not self._window:
            return False
        seen = self._seen.setdefault(partition, OrderedDict())
        if event_id in seen:
            return True
        seen[event_id] = None
        if len(seen) > self._window:
            seen.popitem(last=False)  # a plain dict would walk over all it has deleted to find its oldest
        return False

    def __len__(self) -> int:
        return sum(len(seen) for seen in self._seen.values())
