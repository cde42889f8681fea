"""What everybody takes: by fading counts, or by those of the last days."""

import numpy as np

from benchmarks.quality.peers.pairs import FadingCounts
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes

__all__ = ["Popularity", "RecentDays"]

DAY_MS = 86_400_000


class Popularity:
    """Counts that halve every ``half_life_events``."""

    def __init__(self, sizes: Sizes, half_life_events: float) -> None:
        self._counts = FadingCounts(sizes.num_items, half_life_events)

    def score(self, asked: Questions) -> Float32:
        """Return the counts, the same for everybody."""
        return np.tile(self._counts.values(asked.num_items), (len(asked), 1))

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Count."""
        self._counts.add(item_rows, len(item_rows))


class RecentDays:
    """Counts of the events that are not older than so many days when it is asked."""

    def __init__(self, sizes: Sizes, num_days: float) -> None:
        self._window_ms = int(num_days * DAY_MS)
        self._counts = np.zeros(sizes.num_items, np.float32)
        self._items = np.empty(sizes.num_events, np.int64)
        self._times_ms = np.empty(sizes.num_events, np.int64)
        self._oldest = self._newest = 0

    def score(self, asked: Questions) -> Float32:
        """Return the counts as of the oldest question of the sub-step; all are asked at about that time."""
        self._expire(int(asked.times_ms.min()))
        return np.tile(self._counts[: asked.num_items], (len(asked), 1))

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Count."""
        new = slice(self._newest, self._newest + len(item_rows))
        self._items[new], self._times_ms[new] = item_rows, asked.times_ms
        np.add.at(self._counts, item_rows, 1.0)
        self._newest = new.stop

    def _expire(self, now_ms: int) -> None:
        held = self._times_ms[self._oldest : self._newest]
        num_gone = int(np.searchsorted(held, now_ms - self._window_ms))
        np.subtract.at(self._counts, self._items[self._oldest : self._oldest + num_gone], 1.0)
        self._oldest += num_gone
