"""Scores and mixtures made from plain tables, for tests of what is made from them."""

import torch
from torch import Tensor

from online_models.ranking.mixture import Listable, Mixture, mix
from online_models.scores import Scores


def dense(table: Tensor) -> Scores:
    """Return the scores that ``table`` ``[E, I]`` holds."""
    return Scores(len(table), dense=table)


def listable(blocked: Tensor) -> Listable:
    """Return what may be listed where ``blocked`` ``[E, I]`` bool may not."""
    return Listable(torch.ones(blocked.shape[1], dtype=torch.bool), torch.nonzero(blocked.flatten())[:, 0])


def mixture_of(table: Tensor, blocked: Tensor) -> Mixture:
    """Return the mixture with the scores of ``table`` ``[E, I]``, masked where ``blocked`` ``[E, I]`` bool."""
    return mix([dense(table)], torch.ones((len(table), 1)), listable(blocked))
