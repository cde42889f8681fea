"""The exact K best of a whole catalogue, the same on every run and every device."""

import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.tables.select import largest

__all__ = ["exact_topk", "group_maxima"]

_ROW_BITS = 32
_BLOCK_CELLS = 1 << 22
"""Scores looked at together: bounds the scratch memory (some 20 bytes a cell) on large catalogues."""
_GROUP = 32
"""Neighbouring items of which only the best is looked at first."""


def group_maxima(scores: Tensor) -> Tensor:
    """Return the highest score of every 32 neighbouring items, of ``scores`` ``[R, I]``: ``[R, I // 32]``."""
    num_groups = scores.shape[1] // _GROUP
    groups = scores.as_strided((len(scores), num_groups, _GROUP), (scores.stride(0), _GROUP, 1))
    return groups.amax(2)


def exact_topk(scores: Tensor, k: int, maxima: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the rows of the ``k`` highest scores and the scores, best first.

    Equal scores are ordered by row, lowest first. NaN and minus infinity mean "not a candidate".

    Args:
        scores: ``[R, I]`` float32, one column per item.
        k: K, at least 1.
        maxima: ``group_maxima(scores)``, where they are at hand.

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
        part = slice(start, start + block)
        found, values = _topk_of_groups(scores[part], kept, None if maxima is None else maxima[part])
        empty = ~(values > -torch.inf)
        rows[start : start + block, :kept] = found.masked_fill(empty, NO_ROW)
        best[start : start + block, :kept] = values.masked_fill(empty, -torch.inf)
    return rows, best


def _topk_of_groups(scores: Tensor, k: int, maxima: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what ``_topk_of_block`` does, of a large catalogue from the ``k`` groups alone whose best are the best.

    Every item of the list is in one of these: k others, in as many groups, would come before it.
    """
    num_groups = scores.shape[1] // _GROUP
    if num_groups < 2 * k:
        return _topk_of_block(scores, k)
    in_groups = num_groups * _GROUP
    highest = group_maxima(scores) if maxima is None else maxima
    if bool(torch.isnan(highest).any()):
        return _topk_of_block(scores, k)
    groups = _topk_of_block(highest, k)[0].sort(dim=1).values  # ascending, so that what is picked is in order of rows
    inside = torch.arange(_GROUP, device=scores.device)
    rest = torch.arange(in_groups, scores.shape[1], device=scores.device).expand(len(scores), -1)
    picked = torch.cat([(groups[:, :, None] * _GROUP + inside).flatten(1), rest], 1)
    places, values = _topk_of_block(scores.gather(1, picked), k)
    return picked.gather(1, places), values


def _topk_of_block(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return rows and scores of the ``k`` best; places beyond the candidates hold minus infinity."""
    clean = torch.where(scores > -torch.inf, scores, -torch.inf)  # false for NaN
    best = largest(_keys(clean), k)
    rows = scores.shape[1] - 1 - (best & ((1 << _ROW_BITS) - 1))
    return rows, clean.gather(1, rows)


def _keys(scores: Tensor) -> Tensor:
    """Return ``[R, I]`` int64 that order like (score, -row) and are all different within a list."""
    bits = (scores + 0.0).view(torch.int32)  # minus zero equals zero, so it must have zero's bits
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as integers, IEEE floats now sort as numbers
    row_keys = torch.arange(scores.shape[1] - 1, -1, -1, dtype=torch.int64, device=scores.device)
    return ordered.to(torch.int64).bitwise_left_shift_(_ROW_BITS).bitwise_or_(row_keys)
