"""How late it is in the stream by the events' own times: expiry goes by it, so that a replay expires as the run did."""

from collections.abc import Sequence

import numpy as np

from online_models import State, StateError

__all__ = ["WINDOW_EVENTS", "Watermark"]

WINDOW_EVENTS = 101
"""Fifty events with a wrong clock among so many move nothing."""


class Watermark:
    """The median of the newest event times, which never goes back.

    A maximum would believe the first event from the future, and everything else would be old from then on.
    """

    def __init__(self) -> None:
        self.time_ms = 0
        """Now, in event time; 0 until there were `WINDOW_EVENTS` events."""
        self.first_ms = 0
        """Its first value; whatever was seen before it counts as seen then."""
        self._newest_ms = np.empty(0, np.int64)

    def advance(self, times_ms: Sequence[int]) -> int:
        """Take in the event times of a batch, in stream order, and return the time of now."""
        window = np.concatenate([self._newest_ms, np.array(times_ms, np.int64)])
        self._newest_ms = window[-WINDOW_EVENTS:]
        if len(window) >= WINDOW_EVENTS:
            middle = (len(window) - 1) // 2
            self.time_ms = max(self.time_ms, int(np.partition(window, middle)[middle]))
            self.first_ms = self.first_ms or self.time_ms
        return self.time_ms

    def horizon_ms(self, ttl_seconds: float) -> int | None:
        """Return the time before which nothing may have been seen last; None: nothing is old yet, or 0 seconds: off."""
        horizon_ms = self.time_ms - int(ttl_seconds * 1000)
        return horizon_ms if ttl_seconds and horizon_ms > self.first_ms else None

    def state(self) -> State:
        """Return a copy."""
        return {"times_ms": np.array([self.time_ms, self.first_ms], np.int64), "newest_ms": self._newest_ms.copy()}

    def load(self, state: State) -> None:
        """Take a copy over; raises StateError when it is none."""
        times_ms, newest_ms = state.get("times_ms"), state.get("newest_ms")
        if set(state) != {"times_ms", "newest_ms"} or not (_is_int64(times_ms, 2) and _is_int64(newest_ms)):
            raise StateError(f"watermark: expected 2 times_ms and newest_ms, int64 each, got {sorted(state)}")
        self.time_ms, self.first_ms = np.asarray(times_ms).tolist()
        self._newest_ms = np.array(newest_ms, np.int64)


def _is_int64(value: object, size: int | None = None) -> bool:
    """Return whether this is a row of numbers, of ``size`` of them or at most a window."""
    if not isinstance(value, np.ndarray) or value.dtype != np.int64 or value.ndim != 1:
        return False
    return len(value) == size if size is not None else len(value) <= WINDOW_EVENTS
