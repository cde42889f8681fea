"""Models of the package ``implicit``, which are fitted anew on all events so far every twentieth of the stream."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes

__all__ = ["Als", "ItemItem"]

REFIT_SHARE = 0.05
_LOWEST = -1e6
"""For items that came after the last fit: known, but nothing can be said of them."""


class _Refitted:
    """Collects events, fits when due, and gives each user's items as of now, also the unlearned ones."""

    def __init__(self, sizes: Sizes, fit: Callable[[Any], None]) -> None:
        self._sizes, self._fit = sizes, fit
        self._users = np.empty(sizes.num_events, np.int32)
        self._items = np.empty(sizes.num_events, np.int32)
        self._num_events = self._num_fitted = 0
        self._own: dict[int, Counter[int]] = defaultdict(Counter)
        self.num_items_fitted = 0

    def add(self, asked: Questions, item_rows: Int64) -> None:
        new = slice(self._num_events, self._num_events + len(item_rows))
        self._users[new], self._items[new] = asked.user_rows, item_rows
        self._num_events = new.stop
        for user, item in zip(asked.user_rows.tolist(), item_rows.tolist(), strict=True):
            self._own[user][item] += 1

    def refresh(self, asked: Questions) -> None:
        """Fit on all events so far if a twentieth of the stream came since the last time."""
        if not self._num_events or self._num_events - self._num_fitted < REFIT_SHARE * self._sizes.num_events:
            return
        held = slice(self._num_events)
        ones = np.ones(self._num_events, np.float32)
        shape = (self._sizes.num_users, asked.num_items)
        self._fit(sp.csr_matrix((ones, (self._users[held], self._items[held])), shape=shape))
        self._num_fitted, self.num_items_fitted = self._num_events, asked.num_items

    def own_items(self, asked: Questions) -> Any:
        """Return how often each asking user took each fitted item: sparse ``[B, items fitted]`` float32."""
        rows: list[int] = []
        items: list[int] = []
        counts: list[int] = []
        for place, user in enumerate(asked.user_rows.tolist()):
            own = Counter(self._own.get(user, {}))
            own.update(asked.context.item_rows[place, : asked.num_new[place]].tolist())
            fitted = [(item, count) for item, count in own.items() if item < self.num_items_fitted]
            rows += [place] * len(fitted)
            items += [item for item, _ in fitted]
            counts += [count for _, count in fitted]
        shape = (len(asked), self.num_items_fitted)
        return sp.csr_matrix((np.array(counts, np.float32), (rows, items)), shape=shape)

    def widened(self, asked: Questions, scores: Float32) -> Float32:
        """Return ``scores`` of the fitted items with the lowest for all that came later."""
        wide = np.full((len(asked), asked.num_items), _LOWEST, np.float32)
        wide[:, : scores.shape[1]] = scores
        return wide


class Als:
    """Alternating least squares; each user's factors are computed anew from all of its items when it asks.

    Source: Hu, Koren and Volinsky, ICDM 2008, as in ``implicit.als``.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._events = _Refitted(sizes, self._fit)
        self._backfill = Backfill(sizes.num_items)
        self._seed = sizes.seed
        self._model: Any = None

    def score(self, asked: Questions) -> Float32:
        """Return the products of factors; before the first fit what is popular."""
        self._events.refresh(asked)
        if self._model is None:
            return self._backfill.added_to(np.zeros((len(asked), asked.num_items), np.float32))
        own = self._events.own_items(asked)
        factors = self._model.recalculate_user(np.arange(len(asked)), own)
        scores = self._events.widened(asked, factors @ self._model.item_factors.T)
        has_none = np.diff(own.indptr) == 0  # without items there are no factors, and all scores are 0
        scores[has_none] = self._backfill.added_to(np.zeros_like(scores[has_none]))
        return scores

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Keep the events for the next fit."""
        self._events.add(asked, item_rows)
        self._backfill.learn(item_rows)

    def _fit(self, user_items: Any) -> None:
        from implicit.als import AlternatingLeastSquares

        self._model = AlternatingLeastSquares(
            factors=64, regularization=0.01, alpha=10.0, iterations=15, random_state=self._seed, num_threads=1
        )
        self._model.fit(user_items, show_progress=False)


class ItemItem:
    """The nearest hundred items by cosine of who took them, summed over all items of the user.

    Source: ``implicit.nearest_neighbours.CosineRecommender``.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._events = _Refitted(sizes, self._fit)
        self._backfill = Backfill(sizes.num_items)
        self._similarity: Any = None

    def score(self, asked: Questions) -> Float32:
        """Return the sums of similarities; before the first fit what is popular."""
        self._events.refresh(asked)
        if self._similarity is None:
            return self._backfill.added_to(np.zeros((len(asked), asked.num_items), np.float32))
        scores = (self._events.own_items(asked) @ self._similarity).toarray().astype(np.float32)
        return self._backfill.added_to(np.maximum(self._events.widened(asked, scores), 0.0))

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Keep the events for the next fit."""
        self._events.add(asked, item_rows)
        self._backfill.learn(item_rows)

    def _fit(self, user_items: Any) -> None:
        from implicit.nearest_neighbours import CosineRecommender

        model = CosineRecommender(K=100, num_threads=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a conversion that it makes itself
            model.fit(user_items, show_progress=False)
        self._similarity = model.similarity
