"""Quantiles of a histogram as it is scraped, estimated as Prometheus' histogram_quantile does."""

import math
from collections.abc import Mapping

__all__ = ["quantile"]


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """Return the value that the share `q` of the observations does not exceed, or None when there are none.

    Args:
        q: in 0..1.
        buckets: upper bound to how many observations are not above it; the last bound is infinity.
    """
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0.0
    if not total:
        return None
    rank, lower, below = q * total, 0.0, 0.0
    for edge in edges:
        count = buckets[edge]
        if count >= rank:
            if math.isinf(edge):
                return lower  # nothing is known of how far above it is
            return lower + (edge - lower) * ((rank - below) / (count - below) if count > below else 1.0)
        lower, below = edge, count
    return lower
