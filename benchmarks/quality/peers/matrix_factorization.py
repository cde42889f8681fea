"""Factors of users and items, moved by every event: on the error of a rating of 1, or on pairs."""

import numpy as np

from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes

__all__ = ["Bpr", "Isgd"]


class Isgd:
    """Matrix factorisation for positive-only feedback, one step per event.

    Source: Vinagre, Jorge and Gama, UMAP 2014, algorithm 1 (ISGD): the error is 1 less the product, users and items
    start at random.
    """

    WIDTH, LEARNING_RATE, REGULARISATION, FIRST_SPREAD = 32, 0.1, 0.1, 0.03

    def __init__(self, sizes: Sizes) -> None:
        rng = np.random.default_rng(sizes.seed)
        self._users = _first_rows(rng, sizes.num_users, self.WIDTH, self.FIRST_SPREAD)
        self._items = _first_rows(rng, sizes.num_items, self.WIDTH, self.FIRST_SPREAD)

    def score(self, asked: Questions) -> Float32:
        """Return minus the distance of the products from 1, as the paper ranks."""
        products = self._users[asked.user_rows] @ self._items[: asked.num_items].T
        scores: Float32 = -np.abs(1.0 - products)
        return scores

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Move the rows of each event, one event after another."""
        rate, decay = np.float32(self.LEARNING_RATE), np.float32(self.REGULARISATION)
        for user, item in zip(asked.user_rows.tolist(), item_rows.tolist(), strict=True):
            p, q = self._users[user], self._items[item]
            error = np.float32(1.0) - p @ q
            p += rate * (error * q - decay * p)
            q += rate * (error * p - decay * q)


class Bpr:
    """Matrix factorisation with item biases on pairs of what came and what was drawn evenly from all items known.

    Source: Rendle et al., UAI 2009, arXiv:1205.2618, one pass with ``NUM_NEGATIVES`` pairs per event.
    """

    WIDTH, LEARNING_RATE, REGULARISATION, NUM_NEGATIVES, FIRST_SPREAD = 64, 0.05, 0.05, 8, 0.1

    def __init__(self, sizes: Sizes) -> None:
        self._rng = np.random.default_rng(sizes.seed)
        self._users = _first_rows(self._rng, sizes.num_users, self.WIDTH, self.FIRST_SPREAD)
        self._items = _first_rows(self._rng, sizes.num_items, self.WIDTH, self.FIRST_SPREAD)
        self._biases = np.zeros(sizes.num_items, np.float32)

    def score(self, asked: Questions) -> Float32:
        """Return the products plus the biases."""
        known = asked.num_items
        return self._users[asked.user_rows] @ self._items[:known].T + self._biases[:known]

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Move user, item and negatives of each event, one event after another."""
        drawn = self._rng.integers(asked.num_items, size=(len(item_rows), self.NUM_NEGATIVES))
        for user, item, negatives in zip(asked.user_rows.tolist(), item_rows.tolist(), drawn, strict=True):
            self._move(user, item, np.unique(negatives[negatives != item]))

    def _move(self, user: int, item: int, negatives: Int64) -> None:
        rate, decay = np.float32(self.LEARNING_RATE), np.float32(self.REGULARISATION)
        p, q, n = self._users[user].copy(), self._items[item].copy(), self._items[negatives]
        gaps = q @ p + self._biases[item] - n @ p - self._biases[negatives]
        slopes = (1.0 / (1.0 + np.exp(np.clip(gaps, -30.0, 30.0)))).astype(np.float32)
        total = np.float32(slopes.sum())
        self._users[user] += rate * (total * q - slopes @ n - decay * p)
        self._items[item] += rate * (total * p - decay * q)
        self._items[negatives] += rate * (-slopes[:, None] * p - decay * n)
        self._biases[item] += rate * total
        self._biases[negatives] -= rate * slopes


def _first_rows(rng: np.random.Generator, num_rows: int, width: int, spread: float) -> Float32:
    return (rng.standard_normal((num_rows, width)) * spread).astype(np.float32)
