"""What a peer lists when it has nothing more to say: items that are popular now."""

import numpy as np

from benchmarks.quality.peers.pairs import FadingCounts
from benchmarks.quality.peers.peer import Float32, Int64

__all__ = ["Backfill"]

HALF_LIFE_EVENTS = 2000.0
SLIGHT = 1e-4
"""Worth of the most popular item against the best of the peer: only zeros and ties are decided."""


class Backfill:
    """Adds a popularity to the scores of a peer, so that zeros are not one large tie."""

    def __init__(self, num_items: int, worth: float = SLIGHT) -> None:
        self._worth = worth
        self._counts = FadingCounts(num_items, HALF_LIFE_EVENTS)

    def learn(self, item_rows: Int64) -> None:
        """Count ``item_rows``."""
        self._counts.add(item_rows, len(item_rows))

    def added_to(self, scores: Float32) -> Float32:
        """Return ``scores`` ``[B, I]``, at least 0, divided by the largest of each row, with the popularity added."""
        counts = self._counts.values(scores.shape[1])
        largest = scores.max(axis=1, initial=0.0, keepdims=True)
        filled: Float32 = scores / np.where(largest > 0, largest, 1.0) + counts * (
            self._worth / max(counts.max(), 1e-30)
        )
        return filled.astype(np.float32, copy=False)
