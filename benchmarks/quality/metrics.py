"""From the rank of every event to the figures of a model."""

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.peers.peer import Int64
from benchmarks.quality.protocol import Float64, Ranked
from benchmarks.quality.stream import Stream
from online_models import NO_ROW, hit_rate, ndcg, reciprocal_rank

__all__ = ["QUALITY", "Tally", "quality"]

CUTOFFS = (10, 20)
_METRICS = {"hr": hit_rate, "ndcg": ndcg, "mrr": reciprocal_rank}
QUALITY = tuple(f"{name}_at_{k}" for k in CUTOFFS for name in _METRICS)
NUM_TENTHS = 10
NUM_WINDOWS = 40
_PERCENTILE_EVENTS = 2048
"""How often items are put in the order of their counts."""


def quality(ranks: Float64) -> dict[str, Any]:
    """Return how many ranks there are and the mean of every metric; None where there are none."""
    figures: dict[str, Any] = {"num_evaluated": len(ranks)}
    for k in CUTOFFS:
        for name, metric in _METRICS.items():
            figures[f"{name}_at_{k}"] = float(metric(ranks, k).mean()) if len(ranks) else None
    return figures


class Tally:
    """Everything that is kept of one model's way through the stream; each batch is told as it is done."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._places: list[Int64] = []
        self._ranks: list[Float64] = []
        self._is_known: list[npt.NDArray[np.bool_]] = []
        is_first = stream.events.user_ordinals == 0
        self._first_places = np.zeros(stream.num_users, np.int64)
        self._first_places[stream.events.user_rows[is_first]] = np.flatnonzero(is_first)
        self._counts = np.zeros(stream.num_items, np.int64)
        self._percentiles = np.zeros(stream.num_items)
        self._num_counted = self._num_since = 0
        self._is_listed = np.zeros(stream.num_items, np.bool_)
        self._sum_percentiles = self._num_listed = 0.0
        self._sum_ndcg = self._num_ndcg = 0.0
        self.num_done = 0

    def __call__(self, num_done: int, item_rows: Int64, ranked: Ranked) -> None:
        """Take note of a batch: its ranks were made before ``item_rows`` were learned."""
        self.num_done = num_done
        self._places.append(ranked.places)
        self._ranks.append(ranked.ranks)
        first_places = self._first_places[self._stream.events.user_rows[ranked.places]]
        self._is_known.append((first_places < num_done - len(item_rows)) | (first_places >= num_done))
        is_warm = self._stream.events.user_ordinals[ranked.places] > 0
        self._sum_ndcg += float(ndcg(ranked.ranks[is_warm], 10).sum())
        self._num_ndcg += int(is_warm.sum())
        listed = ranked.top_rows[ranked.top_rows != NO_ROW]
        self._is_listed[listed] = True
        self._sum_percentiles += float(self._percentiles[listed].sum())
        self._num_listed += len(listed)
        self._count(item_rows)

    @property
    def running_ndcg(self) -> float:
        """Return NDCG@10 of warm users so far; 0 before the first."""
        return self._sum_ndcg / max(self._num_ndcg, 1.0)

    def figures(self) -> dict[str, Any]:
        """Return quality of warm users in all and by part of the stream, of cold users, coverage and popularity.

        ``known_before_batch`` leaves out the events of users whose first event came in the same batch, as comparisons
        do that look a user up once per batch.
        """
        none_places, none_ranks = np.empty(0, np.int64), np.empty(0)
        places, ranks = np.concatenate([none_places, *self._places]), np.concatenate([none_ranks, *self._ranks])
        is_known = np.concatenate([np.empty(0, np.bool_), *self._is_known])
        is_warm = self._stream.events.user_ordinals[places] > 0
        cold, places, ranks, is_known = ranks[~is_warm], places[is_warm], ranks[is_warm], is_known[is_warm]
        windows = _by_window(places, ranks, len(self._stream), NUM_WINDOWS)
        return {
            **quality(ranks),
            "by_tenth": [quality(part) for part in _by_window(places, ranks, len(self._stream), NUM_TENTHS)],
            **self._by_part(places, ranks),
            "known_before_batch": {**quality(ranks[is_known]), **self._by_part(places[is_known], ranks[is_known])},
            "cold_users": quality(cold),
            "hr_at_10_by_fortieth": [quality(part)["hr_at_10"] for part in windows],
            "coverage_at_10": float(self._is_listed.sum() / max((self._counts > 0).sum(), 1)),
            "mean_popularity_percentile_at_10": self._sum_percentiles / max(self._num_listed, 1.0),
        }

    def _by_part(self, places: Int64, ranks: Float64) -> dict[str, Any]:
        shares = places / len(self._stream)
        return {
            "first_tenth": quality(ranks[shares < 0.1]),
            "last_half": quality(ranks[shares >= 0.5]),
            "last_fifth": quality(ranks[shares >= 0.8]),
        }

    def _count(self, item_rows: Int64) -> None:
        np.add.at(self._counts, item_rows, 1)
        self._num_since += len(item_rows)
        if not self._num_counted or self._num_since >= _PERCENTILE_EVENTS:
            self._num_counted += self._num_since
            self._num_since = 0
            known = np.flatnonzero(self._counts)
            order = np.sort(self._counts[known])
            # The middle of the equal ones: 1 for the only most popular item, near 0 for the least.
            low, high = (np.searchsorted(order, self._counts[known], side) for side in ("left", "right"))
            self._percentiles[known] = (low + high) / 2.0 / max(len(known), 1)


def _by_window(places: Int64, ranks: Float64, num_events: int, num_windows: int) -> list[npt.NDArray[np.float64]]:
    windows = places * num_windows // num_events
    return [ranks[windows == window] for window in range(num_windows)]
