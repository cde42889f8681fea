"""The user's own items again: the newest first, or the most frequent first."""

from collections import Counter, defaultdict

import numpy as np

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["OwnFrequent", "OwnRecent"]

_NEWEST_LAST = 0.01


class OwnRecent:
    """Items of the history by when they came last, then what is popular."""

    def __init__(self, sizes: Sizes) -> None:
        self._backfill = Backfill(sizes.num_items)

    def score(self, asked: Questions) -> Float32:
        """Return 1, 1/2, 1/3 and so on for the items of the history, newest first."""
        scores = np.zeros((len(asked), asked.num_items), np.float32)
        rows = asked.context.item_rows
        for position in range(rows.shape[1] - 1, -1, -1):  # the newest is written last and stays
            held = np.flatnonzero((rows[:, position] != NO_ROW) & (rows[:, position] < asked.num_items))
            scores[held, rows[held, position]] = 1.0 / (1 + position)
        return self._backfill.added_to(scores)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Learn what is popular: histories are shown with every question."""
        self._backfill.learn(item_rows)


class OwnFrequent:
    """All items the user ever took by how often, recency deciding; those of the running basket last.

    Source: the repeat-purchase baseline of Hu et al., SIGIR 2020 (TIFU-kNN), personal frequency.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._counts: dict[int, Counter[int]] = defaultdict(Counter)
        self._backfill = Backfill(sizes.num_items)

    def score(self, asked: Questions) -> Float32:
        """Return the counts, 0 less for what lies in the basket, plus a trace of recency."""
        scores = np.zeros((len(asked), asked.num_items), np.float32)
        rows = np.where(asked.context.item_rows < asked.num_items, asked.context.item_rows, NO_ROW)
        for place, user in enumerate(asked.user_rows.tolist()):
            own, history = scores[place], rows[place]
            counts = self._counts.get(user)
            if counts:
                own[list(counts)] = list(counts.values())
            new = history[: asked.num_new[place]]
            np.add.at(own, new[new != NO_ROW], 1.0)
            held = history[history != NO_ROW]
            own[held[::-1]] += _NEWEST_LAST / (1.0 + np.arange(len(held))[::-1])
        filled = self._backfill.added_to(scores)
        in_basket = np.arange(rows.shape[1]) < asked.basket_sizes[:, None]
        places, positions = np.nonzero(in_basket & (rows != NO_ROW))
        filled[places, rows[places, positions]] = -1.0
        return filled

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Count."""
        for user, item in zip(asked.user_rows.tolist(), item_rows.tolist(), strict=True):
            self._counts[user][item] += 1
        self._backfill.learn(item_rows)
