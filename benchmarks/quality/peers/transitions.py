"""What followed what: over the last twenty items, or over the newest alone."""

import numpy as np

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.pairs import FadingCounts, SparsePairs, history_matrix
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["Transitions"]

HALF_LIFE_EVENTS = 500_000.0


class Transitions:
    """Directed counts from each of the newest items to what came, fading with position and with events.

    Source: sequential rules, Ludewig and Jannach, UMUAI 2018, here with geometric position weights on both sides. An
    item of the history speaks with its counts over the root of their sum, so that a frequent one does not drown the
    rest: +4 % on MovieLens-1M, +2 to 3 % on RSC15, +11 % and -3 % on Online Retail in file order and shuffled (first
    60,000 to 150,000 events). With one recent item it is the first-order Markov chain. Popularity is mixed in, as
    counts of what followed are small: for the chain that was worth 1 to 10 % on the first events of three streams, for
    twenty items little.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        num_recent: int = 20,
        position_decay: float = 0.8,
        source_power: float = 0.5,
        popularity_power: float = 0.1,
        popularity_worth: float = 0.03,
    ) -> None:
        self._position_weights = (position_decay ** np.arange(num_recent)).astype(np.float32)
        self._pairs = SparsePairs(sizes.num_items, HALF_LIFE_EVENTS)
        self._followed = FadingCounts(sizes.num_items, HALF_LIFE_EVENTS)
        self._counts = FadingCounts(sizes.num_items, HALF_LIFE_EVENTS)
        self._backfill = Backfill(sizes.num_items, popularity_worth)
        self._num_items = sizes.num_items
        self._source_power = source_power
        self._power = popularity_power

    def score(self, asked: Questions) -> Float32:
        """Return the evidence from the newest items, over theirs and the target's own to a power."""
        recent = asked.context.item_rows[:, : len(self._position_weights)]
        worth = (self._followed.values(self._num_items) + 1.0) ** -self._source_power
        sources = history_matrix(recent, self._position_weights * worth[recent], self._num_items)
        scores = self._pairs.weighted(sources, asked.num_items)
        scores /= (self._counts.values(asked.num_items) + 1.0) ** self._power
        return self._backfill.added_to(scores)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Add what followed each of the newest items, worth less the longer ago that was."""
        recent = asked.context.item_rows[:, : len(self._position_weights)]
        held = recent != NO_ROW
        weights = np.broadcast_to(self._position_weights, recent.shape)[held]
        targets = np.broadcast_to(item_rows[:, None], recent.shape)[held]
        self._pairs.add(recent[held], targets, weights, len(item_rows))
        self._followed.add(recent[held], len(item_rows), weights)
        self._counts.add(targets, len(item_rows), weights)
        self._backfill.learn(item_rows)
