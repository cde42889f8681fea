"""Items that come near one another in histories, whichever came first."""

import numpy as np

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.pairs import FadingCounts, SparsePairs, history_matrix
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["ItemKnn"]

NUM_RECENT = 20
POSITION_DECAY = 0.9


class ItemKnn:
    """Cosine of co-occurrence within twenty events, counted event by event, summed over the newest twenty items.

    Source: Sarwar et al., WWW 2001; the incremental form after Vinagre, Jorge and Gama, 2015.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._weights = (POSITION_DECAY ** np.arange(NUM_RECENT)).astype(np.float32)
        self._pairs = SparsePairs(sizes.num_items)
        self._counts = FadingCounts(sizes.num_items)
        self._backfill = Backfill(sizes.num_items)
        self._num_items = sizes.num_items

    def score(self, asked: Questions) -> Float32:
        """Return the weighted sum of the cosines to the newest items."""
        norms = np.sqrt(self._counts.values(self._num_items) + 1.0)
        recent = asked.context.item_rows[:, :NUM_RECENT]
        sources = history_matrix(recent, self._weights / norms[recent], self._num_items)
        scores = self._pairs.weighted(sources, asked.num_items) / norms[: asked.num_items]
        return self._backfill.added_to(scores)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Count each new item with the different ones of the last twenty events, both ways."""
        recent = asked.context.item_rows[:, :NUM_RECENT]
        held = recent != NO_ROW
        near = recent[held]
        new = np.broadcast_to(item_rows[:, None], recent.shape)[held]
        ones = np.ones(2 * len(near), np.float32)
        self._pairs.add(np.concatenate([near, new]), np.concatenate([new, near]), ones, len(item_rows))
        self._counts.add(item_rows, len(item_rows))
        self._backfill.learn(item_rows)
