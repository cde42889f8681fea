"""Scores of many questions, of which some channels give all the same row: that row is never written out for each."""

import torch
from torch import Tensor

__all__ = ["is_same_for_all", "mean_scores", "scores_of"]


def is_same_for_all(scores: Tensor) -> bool:
    """Return whether ``scores`` ``[E, I]`` are one row in one place of memory, as ``expand`` makes them."""
    return len(scores) > 0 and scores.stride(0) == 0


def scores_of(scores: Tensor, questions: Tensor) -> Tensor:
    """Return the scores of these ``questions`` ``[n]`` int64: ``[n, I]``."""
    if is_same_for_all(scores):
        return scores[:1].expand(len(questions), -1)
    return scores[questions]


def mean_scores(shares: Tensor, scores: Tensor) -> Tensor:
    """Return the mean of each question's scores ``[E, I]`` under its ``shares`` ``[E, I]``: ``[E]``."""
    if is_same_for_all(scores):
        return shares @ scores[0]
    return torch.bmm(shares[:, None, :], scores[:, :, None])[:, 0, 0]  # without a table of products
