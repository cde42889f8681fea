"""Scores of many questions, of which some channels give all the same row: that row is never written out for each."""

import torch
from torch import Tensor

__all__ = ["is_same_for_all", "mean_scores", "scores_of"]

_BLOCK_ITEMS = 4096
"""Items whose products are made together: a table that stays in the cache."""
_LEAST = 1e-30
"""Divides where there is no share."""


def is_same_for_all(scores: Tensor) -> bool:
    """Return whether ``scores`` ``[E, I]`` are one row in one place of memory, as ``expand`` makes them."""
    return len(scores) > 0 and scores.stride(0) == 0


def scores_of(scores: Tensor, questions: Tensor) -> Tensor:
    """Return the scores of these ``questions`` ``[n]`` int64: ``[n, I]``."""
    if is_same_for_all(scores):
        return scores[:1].expand(len(questions), -1)
    return scores[questions]


def mean_scores(shares: Tensor, channels: list[Tensor]) -> Tensor:
    """Return the mean score of each question in each channel: ``[E, C]``, 0 where there is no share.

    As exact as the sum of the shares: a channel whose scores are all alike must have the mean that they have, or its
    weight drifts for good. Matrix products lose the many small shares beside a large one.

    Args:
        shares: ``[E, I]``, of sum 1 or 0.
    """
    sums = shares.new_zeros((len(shares), 1 + len(channels)))
    for start in range(0, shares.shape[1], _BLOCK_ITEMS):
        block = slice(start, start + _BLOCK_ITEMS)
        part = shares[:, block]
        sums[:, 0] += part.sum(1)
        for place, scores in enumerate(channels, 1):
            sums[:, place] += torch.linalg.vecdot(part, scores[:, block])
    return sums[:, 1:] / sums[:, :1].clamp(min=_LEAST)
