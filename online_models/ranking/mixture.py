"""The mixed scores of all items for many queries, and everything that is summed over the items in one pass.

Of most channels everybody has the same row, but for a few cells: so the mixture is one product with these rows and a
correction for each cell. Sums over items are those of blocks of 4,096, added up in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from online_models.retrieval.exact import group_maxima
from online_models.runtime.products import add_products, padded_rows
from online_models.scores import Scores

__all__ = ["BLOCK_ITEMS", "Listable", "Mixture", "mix"]

BLOCK_ITEMS = 4096
"""Items looked at together: their numbers stay in the cache."""
_REST = 32
"""Items that may be left over when the others are in groups."""
_LEAST = 1e-30
"""Divides where there is no share."""


@dataclass(frozen=True, slots=True)
class Listable:
    """What may be listed for E queries."""

    known: Tensor
    """``[I]`` bool: items that may be listed at all."""
    owned: Tensor
    """``[n]`` int64, ascending: query times I plus item, for every item that may not be listed for this query."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The mixed scores of E queries over the items that may be listed."""

    scores: Tensor
    """``[E, I]`` float32, minus infinity for what may not be listed."""
    maxima: Tensor
    """``[E, I // 32]``, see ``group_maxima``."""
    log_total: Tensor
    """``[E]`` float32: log of the sum of their exponentials, minus infinity where nothing may be listed."""
    ranks: Tensor | None
    """``[E]`` float64 of the targets, see ``mid_ranks``; None where none were named."""
    means: Tensor | None
    """``[E, C]`` float32 of each channel's scores, by the probabilities of this mixture; None as ``ranks``."""

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities of items with these mixed scores, ``[E, n]`` in 0..1."""
        return torch.exp(scores - self.log_total[:, None]).nan_to_num_(nan=0.0)


def mix(channels: list[Scores], weights: Tensor, listable: Listable, targets: Tensor | None = None) -> Mixture:
    """Return the weighted sum of the channels' scores.

    Args:
        channels: C of them, of E queries.
        weights: ``[E, C]`` float32.
        listable: what is not masked.
        targets: ``[E]`` int64, to rank them and to learn the weights from them.
    """
    scores = _weighted_sum(channels, weights, listable.known)
    scores.view(-1)[listable.owned] = -torch.inf
    maxima = group_maxima(scores)
    highest = torch.cat([maxima, scores[:, -_REST:]], 1).amax(1)
    highest = highest.masked_fill_(highest == -torch.inf, 0.0)
    own = None if targets is None else scores.gather(1, targets[:, None])
    summed = [] if targets is None else channels
    totals = scores.new_zeros((len(scores), 1 + len(summed)), dtype=torch.float64)
    lead = scores.new_zeros(len(scores), dtype=torch.float64)
    for block in _blocks(scores.shape[1]):
        part = scores[:, block]
        totals += _sums((part - highest[:, None]).exp_(), summed, block)
        if own is not None:
            lead += (part - own).sign_().nan_to_num_(nan=-1.0).sum(1)
    return Mixture(
        scores=scores,
        maxima=maxima,
        log_total=(totals[:, 0].log() + highest).float(),
        ranks=None if own is None else _ranks(scores, own, lead),
        means=None if own is None else _means(scores, highest, totals, channels),
    )


def _blocks(num_items: int) -> Iterator[slice]:
    for start in range(0, num_items, BLOCK_ITEMS):
        yield slice(start, min(start + BLOCK_ITEMS, num_items))


def _weighted_sum(channels: list[Scores], weights: Tensor, known: Tensor) -> Tensor:
    """Return the mixed scores ``[E, I]``, minus infinity for items that are not ``known``."""
    rows = [place for place, channel in enumerate(channels) if channel.dense is None and not channel.is_constant]
    dense = [place for place, channel in enumerate(channels) if channel.dense is not None]
    constant = [place for place, channel in enumerate(channels) if channel.is_constant]
    num_queries = len(weights)
    scores = weights.new_empty((padded_rows(num_queries), len(known)))
    is_masked = [not bool(known[block].all()) for block in _blocks(len(known))]
    base = weights.new_zeros((num_queries, 1))
    for place in constant:
        base += weights[:, place : place + 1] * channels[place].row[0]
    for block, has_unknown in zip(_blocks(len(known)), is_masked, strict=True):
        part = scores[:, block]
        part[num_queries:] = 0.0
        part[:num_queries] = base
        for place in dense:
            part[:num_queries].addcmul_(channels[place].columns(block), weights[:, place : place + 1])
        if rows:
            add_products(part, weights[:, rows], torch.stack([channels[place].row[block] for place in rows]))
        if has_unknown:
            part.masked_fill_(~known[block], -torch.inf)
    scores = scores[:num_queries]
    for place, channel in enumerate(channels):
        if channel.cells is not None:
            queries, items = channel.cells.queries, channel.cells.items
            above = (channel.cells.values - channel.row[items]).mul_(weights[queries, place])
            scores.view(-1).index_add_(0, channel.cells.keys, above)
    return scores


def _sums(shares: Tensor, channels: list[Scores], block: slice) -> Tensor:
    """Return the sum of the shares of a block of items, and of these times each channel: ``[E, 1 + C]`` float64.

    As exact as the sum of the shares: a channel whose scores are all alike must have the mean that they have, or its
    weight drifts for good. Matrix products lose the many small shares beside a large one. What is the same number for
    all items is left out, and so are the cells.
    """
    sums = [shares.sum(1)]
    for channel in channels:
        if channel.is_constant:
            sums.append(torch.zeros_like(sums[0]))
        elif channel.dense is None:
            sums.append(torch.linalg.vecdot(shares, channel.row[block]))
        else:
            sums.append(torch.linalg.vecdot(shares, channel.columns(block)))
    return torch.stack(sums, 1).double()


def _means(scores: Tensor, highest: Tensor, totals: Tensor, channels: list[Scores]) -> Tensor:
    means = totals[:, 1:].clone()
    total = totals[:, 0].clamp(min=_LEAST)
    for place, channel in enumerate(channels):
        if channel.is_constant:
            means[:, place] = channel.row[0] * total * (totals[:, 0] > 0)
        if channel.cells is not None:
            queries, items = channel.cells.queries, channel.cells.items
            shares = torch.exp(scores.view(-1)[channel.cells.keys] - highest[queries])
            above = shares * (channel.cells.values - channel.row[items])
            means[:, place] += means.new_zeros(len(scores)).index_add_(0, queries, above.double())
    return (means / total[:, None]).float()


def _ranks(scores: Tensor, own: Tensor, lead: Tensor) -> Tensor:
    ranks = 1.0 + (scores.shape[1] - 1 + lead) / 2.0
    return ranks.masked_fill_(~torch.isfinite(own[:, 0]), torch.inf)
