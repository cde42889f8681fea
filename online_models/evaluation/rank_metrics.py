"""Quality of rankings with one relevant item each, from the rank it got.

Ranks are 1-based and may be halves (ties) or infinite (the item could not be ranked). Windows and
drift over a stream live elsewhere: this is one number per event.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["hit_rate", "ndcg", "reciprocal_rank"]

Float64 = npt.NDArray[np.float64]


def hit_rate(ranks: Float64, k: int) -> Float64:
    """Return 1 where the item is among the first ``k``, else 0: ``[E]`` float64."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Float64, k: int) -> Float64:
    """Return ``1 / log2(rank + 1)`` where the rank is at most ``k``, else 0: ``[E]`` float64.

    Source: Järvelin and Kekäläinen, TOIS 2002; with one relevant item the ideal gain is 1.
    """
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def reciprocal_rank(ranks: Float64, k: int) -> Float64:
    """Return ``1 / rank`` where the rank is at most ``k``, else 0: ``[E]`` float64."""
    return np.where(ranks <= k, 1.0 / ranks, 0.0)
