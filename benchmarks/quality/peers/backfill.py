"""What a peer lists when it has nothing more to say: items that are popular now."""

import numpy as np

from benchmarks.quality.peers.pairs import FadingCounts
from benchmarks.quality.peers.peer import Float32, Int64

__all__ = ["Backfill"]

HALF_LIFE_EVENTS = 2000.0
_WORTH = 1e-4


class Backfill:
    """Adds a popularity far below any score of the peer, so that zeros are not one large tie."""

    def __init__(self, num_items: int) -> None:
        self._counts = FadingCounts(num_items, HALF_LIFE_EVENTS)

    def learn(self, item_rows: Int64) -> None:
        """Count ``item_rows``."""
        self._counts.add(item_rows, len(item_rows))

    def added_to(self, scores: Float32) -> Float32:
        """Return ``scores`` ``[B, I]``, at least 0, divided by the largest of each row, with the popularity added."""
        counts = self._counts.values(scores.shape[1])
        largest = scores.max(axis=1, initial=0.0, keepdims=True)
        filled: Float32 = scores / np.where(largest > 0, largest, 1.0) + counts * (_WORTH / max(counts.max(), 1e-30))
        return filled.astype(np.float32, copy=False)
