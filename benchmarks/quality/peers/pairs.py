"""Weighted counts of pairs of items, as many as there are and no more, for any size of catalogue."""

from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.peer import Float32, Int64
from online_models import NO_ROW

__all__ = ["FadingCounts", "SparsePairs", "history_matrix"]

_LARGEST_SCALE = 2.0**40
_MERGE_FACTOR = 4


class SparsePairs:
    """An ``[I, I]`` float32 matrix that is only ever added to, in levels of growing size.

    New pairs make a small matrix, small ones are merged into larger ones, so that every pair is moved a few times only.

    Source: the log-structured merge tree, O'Neil et al., Acta Informatica 1996.
    """

    def __init__(self, num_items: int, half_life_events: float = np.inf) -> None:
        self._shape = (num_items, num_items)
        self._half_life = half_life_events
        self._scale = 1.0  # what new evidence is worth: old evidence fades by standing still
        self._levels: list[Any] = []

    def add(self, sources: Int64, targets: Int64, weights: Float32, num_events: int) -> None:
        """Add ``weights`` ``[n]`` to pairs; repeated pairs add up. Then ``num_events`` pass."""
        data = (weights * self._scale).astype(np.float32)
        level = sp.coo_matrix((data, (sources, targets)), shape=self._shape).tocsr()
        while self._levels and level.nnz * _MERGE_FACTOR > self._levels[-1].nnz:
            level = level + self._levels.pop()
        self._levels.append(level)
        self._scale *= 2.0 ** (num_events / self._half_life)
        if self._scale > _LARGEST_SCALE:
            self._levels = [level * np.float32(1.0 / self._scale) for level in self._levels]
            self._scale = 1.0

    def weighted(self, sources: Any, num_items: int) -> Float32:
        """Return ``sources``, sparse ``[B, I]``, times the first ``num_items`` columns: ``[B, num_items]`` float32."""
        total = np.zeros((sources.shape[0], num_items), np.float32)
        for level in self._levels:
            found = sources @ level
            rows = np.repeat(np.arange(found.shape[0]), np.diff(found.indptr))
            total[rows, found.indices] += found.data  # a product has no pair twice
        total /= np.float32(self._scale)
        return total


class FadingCounts:
    """One count per item that halves every so many events."""

    def __init__(self, num_items: int, half_life_events: float = np.inf) -> None:
        self._counts = np.zeros(num_items)  # float64: sums that run for ever
        self._half_life = half_life_events
        self._scale = 1.0

    def add(self, rows: Int64, num_events: int, weights: Any = 1.0) -> None:
        """Add ``weights`` to ``rows``, repeated ones too, then let ``num_events`` pass."""
        np.add.at(self._counts, rows, weights * self._scale)
        self._scale *= 2.0 ** (num_events / self._half_life)
        if self._scale > _LARGEST_SCALE:
            self._counts /= self._scale
            self._scale = 1.0

    def values(self, num_items: int) -> Float32:
        """Return the counts of the first ``num_items``: ``[n]`` float32."""
        return (self._counts[:num_items] / self._scale).astype(np.float32)


def history_matrix(item_rows: Int64, weights: Float32, num_items: int) -> Any:
    """Return histories as a sparse ``[B, num_items]`` matrix.

    Args:
        item_rows: ``[B, n]`` int64, newest first, ``NO_ROW`` after the last.
        weights: ``[n]`` or ``[B, n]`` float32, worth of each position.
    """
    held = item_rows != NO_ROW
    indptr = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
    data = np.broadcast_to(weights, item_rows.shape)[held].astype(np.float32)
    return sp.csr_matrix((data, item_rows[held], indptr), shape=(len(item_rows), num_items))
