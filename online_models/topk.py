"""The exact K best of a whole catalogue, the same on every run and every device."""

import torch
from torch import Tensor

from online_models.batch import NO_ROW

__all__ = ["exact_topk"]

_ROW_BITS = 32
_BLOCK_CELLS = 1 << 22
"""Scores looked at together: bounds the scratch memory (8 bytes a cell) on large catalogues."""


def exact_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the rows of the ``k`` highest scores and the scores, best first.

    Equal scores are ordered by row, lowest first. NaN and minus infinity mean "not a candidate".

    Args:
        scores: ``[R, I]`` float32, one column per item.
        k: K, at least 1.

    Returns:
        ``rows`` ``[R, K]`` int64, ``NO_ROW`` where there are fewer than K candidates, and ``best``
        ``[R, K]`` float32, minus infinity there.
    """
    num_lists, num_items = scores.shape
    rows = torch.full((num_lists, k), NO_ROW, dtype=torch.int64, device=scores.device)
    best = torch.full((num_lists, k), -torch.inf, dtype=torch.float32, device=scores.device)
    if not num_items:
        return rows, best
    kept = min(k, num_items)
    block = max(1, _BLOCK_CELLS // num_items)
    for start in range(0, num_lists, block):
        part = scores[start : start + block]
        keys = torch.topk(_keys(part), kept, dim=1, sorted=True).values
        found = num_items - 1 - (keys & ((1 << _ROW_BITS) - 1))
        values = part.gather(1, found)
        empty = ~(values > -torch.inf)
        rows[start : start + block, :kept] = found.masked_fill(empty, NO_ROW)
        best[start : start + block, :kept] = values.masked_fill(empty, -torch.inf)
    return rows, best


def _keys(scores: Tensor) -> Tensor:
    """Return ``[R, I]`` int64 that order like (score, -row) and are all different within a list."""
    clean = torch.nan_to_num(scores, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    clean = clean + 0.0  # minus zero equals zero, so it must have zero's bits
    bits = clean.view(torch.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as integers, IEEE floats now sort as numbers
    row_keys = torch.arange(scores.shape[1] - 1, -1, -1, dtype=torch.int64, device=scores.device)
    return (ordered.to(torch.int64) << _ROW_BITS) | row_keys
