"""Why an item is in a list: what each channel of the mixture, and the reranker, adds to its place."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW, TopK
from online_models.ranking.mixture import Mixture
from online_models.users.history import Context

__all__ = ["RERANKER", "Explanation", "explain"]

RERANKER = "reranker"
"""Name of the column that holds what the second stage changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The list of one user as ``rank`` gives it, what it was made from, and where each score comes from."""

    top: TopK
    """``[1, K]``."""
    history: Context
    """``[1, L]``, newest first: what the list knows of the user."""
    columns: tuple[str, ...]
    """Names of the C channels; then ``RERANKER``, where there is one."""
    contributions: npt.NDArray[np.float32]
    """``[K, C]`` or ``[K, C + 1]`` float32 in nats, finite, 0 where the list is shorter.

    A channel's: its weight times how far its log-score of the item is above its mean over all items that may be
    listed. The reranker's: by how much it moved the log-probability. So the difference between the row sums of two
    items is the logarithm of how many times as probable the one is as the other.
    """


def explain(
    top: TopK, history: Context, scores: dict[str, Tensor], weights: Tensor, mixture: Mixture, *, is_reranked: bool
) -> Explanation:
    """Return what each channel adds to each place of a list.

    Args:
        top: the list of one user, ``[1, K]``.
        history: of the user.
        scores: of each channel for all items, ``[1, I]`` float32, as they were mixed.
        weights: of each channel in this situation, ``[1, C]`` float32.
        mixture: of these scores; its masked items are those that may not be listed.
        is_reranked: whether a second stage ordered the list.
    """
    is_listable = torch.isfinite(mixture.scores[0])
    places = torch.from_numpy(top.item_rows[0]).to(is_listable.device)
    is_filled = (places != NO_ROW) & is_listable.any()
    inside = places.clamp(min=0)
    table = torch.stack([channel[0] for channel in scores.values()], 1)  # [I, C]
    means = table[is_listable].mean(0)
    columns = [(table[inside] - means) * weights.to(table.device)]  # [K, C]
    if is_reranked:
        mixed = mixture.scores[0, inside] - mixture.log_total[0]
        columns.append((torch.from_numpy(top.scores[0]).to(mixed.device).log() - mixed)[:, None])
    contributions = torch.cat(columns, 1).masked_fill_(~is_filled[:, None], 0.0)
    return Explanation(
        top=top,
        history=history,
        columns=(*scores, RERANKER) if is_reranked else tuple(scores),
        # A probability below the smallest float32 is 0, and its logarithm no number.
        contributions=contributions.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0).cpu().numpy(),
    )
