"""Counts that fade without touching them: what is added grows instead."""

import math

from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State

__all__ = ["DecayingScale"]

_LARGEST = 2.0**40
_MAX_DOUBLINGS = 60.0


class DecayingScale:
    """What one unit of evidence is worth now, in the unit of the stored counts.

    Stored counts stay; new evidence is multiplied by ``value``, which doubles every half-life. A stored
    count divided by ``value`` is the decayed count. Before float32 could overflow, the owner divides its
    tables by what ``advance`` returns.
    """

    def __init__(self, half_life_events: float) -> None:
        self.half_life_events = half_life_events
        self.value = 1.0

    def advance(self, num_events: int) -> float:
        """Let ``num_events`` pass; return what stored counts must be divided by now, usually 1."""
        self.value *= 2.0 ** min(num_events / self.half_life_events, _MAX_DOUBLINGS)
        if self.value < _LARGEST:
            return 1.0
        divisor, self.value = self.value, 1.0
        return divisor

    def state(self) -> State:
        """Return the value."""
        return {"value": self.value}

    def is_finite(self) -> bool:
        """Return whether the value is a number."""
        return math.isfinite(self.value)

    def load(self, state: State) -> None:
        """Take ``state`` over; raises StateError when it is of something else."""
        self.value = StateReader(state, ["value"]).number("value")
