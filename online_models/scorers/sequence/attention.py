"""Attention of a query over the newest items of the history."""

import torch
from torch import Tensor, nn

from online_models.scorers.sequence.packed_histories import NUM_GAP_BUCKETS

__all__ = ["HistoryAttention"]


class HistoryAttention(nn.Module):
    """Adds to each query what it finds in the items that it asks about, by likeness, place and age.

    Source: attention, Vaswani et al., NeurIPS 2017, arXiv:1706.03762, of one query over the history beside a recurrent
    state, Li et al., CIKM 2017 (NARM), arXiv:1711.04725; with biases by place and age in place of embeddings of these,
    Zhai et al., ICML 2024 (HSTU), arXiv:2402.17152.
    """

    def __init__(self, width: int, length: int, num_heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.asks = nn.Linear(width, num_heads * width, bias=False)
        self.places = nn.Parameter(torch.zeros(num_heads, length))
        self.ages = nn.Parameter(torch.zeros(NUM_GAP_BUCKETS, num_heads))
        self.output = nn.Linear(num_heads * width, width)
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            self.asks.weight.normal_(0.0, width**-0.5, generator=generator)
            self.output.weight.zero_()  # so that it begins as the query alone
            self.output.bias.zero_()

    def forward(self, queries: Tensor, items: Tensor, is_there: Tensor, ages: Tensor) -> Tensor:
        """Return queries ``[P, D]`` from queries ``[P, D]`` and items ``[P, L, D]``, newest first.

        Args:
            is_there: ``[P, L]`` bool; L is at most that of ``places``.
            ages: ``[P, L]`` int64 buckets.
        """
        num_queries, length, width = items.shape
        asked = self.asks(queries).view(num_queries, self.num_heads, width)
        likeness = torch.bmm(asked, items.transpose(1, 2)) * (width**-0.5)  # [P, heads, L]
        biases = nn.functional.embedding(ages, self.ages).transpose(1, 2) + self.places[:, :length]
        likeness = (likeness + biases).masked_fill(~is_there[:, None, :], -1e9)
        shares = torch.softmax(likeness, 2) * is_there[:, None, :]
        found = torch.bmm(shares, items).flatten(1)
        mixed: Tensor = self.norm(queries + self.output(found))
        return mixed
