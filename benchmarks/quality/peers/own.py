"""The user's own items again: the newest first, or the most frequent first."""

from collections import Counter, defaultdict
from itertools import islice

import numpy as np

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["OwnFrequent", "OwnRecent"]

MAX_OWN = 500
"""Most different items of a user that are listed, newest first."""
_RECENCY_WORTH = 0.01


class OwnRecent:
    """Items of the user by when they came last, then what is popular."""

    def __init__(self, sizes: Sizes) -> None:
        # Values mean nothing: a dict keeps the order in which its keys were put in, the newest last.
        self._items: dict[int, dict[int, None]] = defaultdict(dict)
        self._backfill = Backfill(sizes.num_items)

    def score(self, asked: Questions) -> Float32:
        """Return 1, 1/2, 1/3 and so on for the different items of the user, newest first."""
        scores = np.zeros((len(asked), asked.num_items), np.float32)
        for place, user in enumerate(asked.user_rows.tolist()):
            new = asked.context.item_rows[place, : asked.num_new[place]].tolist()
            held = islice(reversed(self._items.get(user, {})), MAX_OWN)
            rows = [row for row in dict.fromkeys([*new, *held]) if row < asked.num_items]
            scores[place, rows] = 1.0 / (1.0 + np.arange(len(rows)))
        return self._backfill.added_to(scores)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Put each item behind all others of its user."""
        for user, item in zip(asked.user_rows.tolist(), item_rows.tolist(), strict=True):
            own = self._items[user]
            own.pop(item, None)
            own[item] = None
        self._backfill.learn(item_rows)


class OwnFrequent:
    """All items the user ever took by how often, recency deciding; those of the running basket last.

    Source: the repeat-purchase baseline of Hu et al., SIGIR 2020 (TIFU-kNN), personal frequency.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._counts: dict[int, Counter[int]] = defaultdict(Counter)
        self._backfill = Backfill(sizes.num_items)

    def score(self, asked: Questions) -> Float32:
        """Return the counts plus a trace of recency, and -1 for what lies in the basket."""
        scores = np.zeros((len(asked), asked.num_items), np.float32)
        rows = np.where(asked.context.item_rows < asked.num_items, asked.context.item_rows, NO_ROW)
        for place, user in enumerate(asked.user_rows.tolist()):
            own, history = scores[place], rows[place]
            counts = self._counts.get(user)
            if counts:
                own[list(counts)] = list(counts.values())
            new = history[: asked.num_new[place]]
            np.add.at(own, new[new != NO_ROW], 1.0)
            held, newest = np.unique(history[history != NO_ROW], return_index=True)
            own[held] += _RECENCY_WORTH / (1.0 + newest)
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
