"""What is rising: items that are taken more often now than they used to be."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from online_models import DecayingScale

__all__ = ["Rise", "Rising"]

Int64 = npt.NDArray[np.int64]

SHORT_HALF_LIFE_EVENTS = 1_000.0
LONG_HALF_LIFE_EVENTS = 50_000.0
LEAST_COUNT = 3.0
"""Decayed events that an item must have now: one event is no trend."""
LEAST_DEVIATIONS = 2.0
"""Standard deviations that a count must be above what is expected of it. Its variance is half that: the squares of
weights that fade exponentially add up to half of what the weights do."""


@dataclass(frozen=True, slots=True)
class Rise:
    """One rising item: its row, its decayed events of now, and how many times its usual share that is."""

    row: int
    num_events: float
    lift: float


class Rising:
    """Counts of each item that fade fast, against counts that fade slowly.

    An item rises when its fast count is above what its share of the slow counts would lead one to expect, by more
    standard deviations than chance explains; those that are furthest above come first.
    """

    def __init__(self) -> None:
        self._short, self._long = _Counts(SHORT_HALF_LIFE_EVENTS), _Counts(LONG_HALF_LIFE_EVENTS)

    def learn(self, item_rows: Int64, reset_rows: Int64) -> None:
        """Count one event for each of `item_rows` `[n]`; rows that changed owner before them begin anew."""
        for counts in (self._short, self._long):
            counts.reset(reset_rows)
            counts.add(item_rows)

    def best(self, num: int) -> list[Rise]:
        """Return at most `num` rising items, the most surprising first; of equal ones the lowest row."""
        now, usual = self._short.values(), self._long.values()
        expected = usual * (now.sum() / max(usual.sum(), 1e-9))
        deviations = (now - expected) / np.sqrt((expected + 1.0) / 2.0)  # plus 1: a new item is no infinite surprise
        rows = np.flatnonzero((now >= LEAST_COUNT) & (deviations >= LEAST_DEVIATIONS))
        rows = rows[np.argsort(-deviations[rows], kind="stable")][:num]
        return [Rise(row, float(now[row]), float(now[row] / expected[row])) for row in rows.tolist()]


class _Counts:
    """Counts per item that halve every so many events."""

    def __init__(self, half_life_events: float) -> None:
        self._scale = DecayingScale(half_life_events)
        self._counts = np.zeros(0, np.float64)

    def add(self, rows: Int64) -> None:
        if not rows.size:
            return
        size = int(rows.max()) + 1
        if size > self._counts.size:
            more = max(size, 2 * self._counts.size) - self._counts.size
            self._counts = np.concatenate([self._counts, np.zeros(more, np.float64)])
        np.add.at(self._counts, rows, self._scale.value)
        divisor = self._scale.advance(rows.size)
        if divisor != 1.0:
            self._counts /= divisor

    def reset(self, rows: Int64) -> None:
        self._counts[rows[rows < self._counts.size]] = 0.0

    def values(self) -> npt.NDArray[np.float64]:
        return self._counts / self._scale.value
