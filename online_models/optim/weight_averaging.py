"""Weights that score are a running mean of those that learn: steps of a constant size never settle, their mean does.

Source: Polyak and Juditsky, SIAM Journal on Control and Optimization 1992; of a growing and then a constant number of
steps, as in Tarvainen and Valpola, NeurIPS 2017, arXiv:1703.01780.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["follow", "follow_rows", "newest_shares"]

_SHARE_OF_LIFE = 0.1
"""A mean is over this share of the steps so far: what has just begun to learn is not held back by how it began."""


def newest_shares(num_steps: Tensor, longest: float) -> Tensor:
    """Return what the newest values count for in a mean over a tenth of ``num_steps``, but ``longest`` steps at most.

    Args:
        num_steps: of any shape, steps that were taken, the newest too; 0 counts as 1.
        longest: at least 1; at 1 the mean is the newest value itself.

    Returns:
        float32 of that shape, in (0, 1].
    """
    return (num_steps * _SHARE_OF_LIFE).clamp(min=1.0, max=longest).reciprocal()


def follow(means: Iterable[Tensor], newest: Iterable[Tensor], num_steps: int, longest: float) -> None:
    """Move ``means`` towards ``newest`` in place, all by the share of ``newest_shares`` for one number of steps."""
    share = newest_shares(torch.tensor(float(num_steps)), longest).item()
    torch._foreach_lerp_(list(means), list(newest), share)


def follow_rows(means: Tensor, table: Tensor, shares: Tensor, rows: Tensor | None) -> None:
    """Move the first ``len(shares)`` rows of ``means``, or those at ``rows``, towards those of ``table`` in place.

    Args:
        shares: ``[n]`` float32, what the newest values count for.
    """
    weights = shares if table.ndim == 1 else shares[:, None]
    if rows is None:
        means[: len(shares)].lerp_(table[: len(shares)], weights)
    else:
        means[rows] = torch.lerp(means[rows], table[rows], weights)
