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
    for part, *scores in zip(*(torch.split(table, _BLOCK_ITEMS, 1) for table in (shares, *channels)), strict=True):
        sums += torch.stack([part.sum(1), *(torch.linalg.vecdot(part, score) for score in scores)], 1)
    return sums[:, 1:] / sums[:, :1].clamp(min=_LEAST)
