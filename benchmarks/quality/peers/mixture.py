"""Several peers added up with the same weight for each: the best that can be set without looking at a stream."""

from collections.abc import Sequence

import numpy as np

from benchmarks.quality.peers.peer import Float32, Int64, Peer, Questions

__all__ = ["Mixture"]

_SMOOTHING = 1e-3


class Mixture:
    """The sum of the logarithms of what each member gives to an item, as a share of the largest, smoothed."""

    def __init__(self, members: Sequence[Peer]) -> None:
        self._members = list(members)

    def score(self, asked: Questions) -> Float32:
        """Return the sum."""
        total = np.zeros((len(asked), asked.num_items), np.float32)
        for member in self._members:
            scores = np.maximum(member.score(asked), 0.0)
            largest = scores.max(axis=1, keepdims=True)
            total += np.log(scores / np.where(largest > 0, largest, 1.0) + np.float32(_SMOOTHING))
        return total

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Let every member learn."""
        for member in self._members:
            member.learn(asked, item_rows)
