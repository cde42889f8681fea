"""How one scorer ranks by itself; over many items a shared row with cells is not written out as a table."""

import numpy as np
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.evaluation.prequential import mid_ranks
from online_models.ranking.mixture import Listable
from online_models.retrieval.exact import exact_topk
from online_models.scores import Cells, Scores

__all__ = ["rank_alone"]

_FEW_ITEMS = 8192
"""Up to so many items a table is cheaper to write out than to do without; ranks and lists are the same."""


def rank_alone(scores: Scores, listable: Listable, targets: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the rank of each target among what may be listed, and the K best items.

    Args:
        scores: of E queries.
        listable: for these.
        targets: ``[E]`` int64.
        k: K, at least 1.

    Returns:
        ``[E]`` float64, see ``mid_ranks``; rows ``[E, K]`` int64, see ``exact_topk``.
    """
    if scores.dense is not None or scores.num_items <= _FEW_ITEMS:
        table = scores.table().masked_fill(~listable.known, -torch.inf)
        table.view(-1)[listable.owned] = -torch.inf
        return mid_ranks(table, targets), exact_topk(table, k)[0]
    cells, gone = _exceptions(scores, listable)
    return _ranks(scores, listable, cells, gone, targets), _best(scores, listable, cells, gone, k)


def _exceptions(scores: Scores, listable: Listable) -> tuple[Cells, Tensor]:
    """Return the cells that may be listed, and the places ``[n]`` int64 of listable items that the shared row misses.

    These are the cells, and what the user owns.
    """
    num_items = scores.num_items
    empty = Cells(listable.owned[:0], scores.row[:0], num_items)
    cells = scores.cells or empty
    is_owned, _ = Cells(listable.owned, listable.owned, num_items).find(cells.keys)
    kept = ~is_owned & listable.known[cells.items]
    is_cell, _ = cells.find(listable.owned)
    gone = torch.cat([cells.keys, listable.owned[~is_cell]])
    return Cells(cells.keys[kept], cells.values[kept], num_items), gone[listable.known[gone % num_items]]


def _ranks(scores: Scores, listable: Listable, cells: Cells, gone: Tensor, targets: Tensor) -> Tensor:
    """Return 1 + how many of the shared row and of the cells score higher + half of how many others score the same."""
    own = scores.at(targets[:, None])[:, 0]
    row = _sorted(scores.row[listable.known])
    below, up_to = torch.searchsorted(row, own), torch.searchsorted(row, own, right=True)
    # Higher less lower, doubled: what the middle of equal ones is made of.
    lead = ((len(row) - up_to) - below).double()
    queries, items = torch.div(gone, scores.num_items, rounding_mode="floor"), gone % scores.num_items
    lead.index_add_(0, queries, (scores.row[items] - own[queries]).sign().double(), alpha=-1.0)
    lead.index_add_(0, cells.queries, (cells.values - own[cells.queries]).sign().double())
    sizes = len(row) - torch.bincount(queries, minlength=len(own)) + torch.bincount(cells.queries, minlength=len(own))
    ranks = 1.0 + (sizes - 1 + lead) / 2.0
    is_listable = (
        listable.known[targets]
        & ~Cells(listable.owned, own, scores.num_items).find(
            torch.arange(len(targets), device=targets.device) * scores.num_items + targets
        )[0]
    )
    return ranks.masked_fill_(~(is_listable & torch.isfinite(own)), torch.inf)


def _sorted(row: Tensor) -> Tensor:
    """Return ``row`` in ascending order; numpy sorts numbers several times as fast as torch."""
    return torch.from_numpy(np.sort(row.numpy())) if row.device.type == "cpu" else row.sort().values


def _best(scores: Scores, listable: Listable, cells: Cells, gone: Tensor, k: int) -> Tensor:
    """Return the K best of the first of the shared row that are nowhere else, and of the best cells."""
    num_queries, num_items = scores.num_queries, scores.num_items
    queries, items = torch.div(gone, num_items, rounding_mode="floor"), gone % num_items
    most_gone = int(torch.bincount(queries, minlength=1).max())
    shared = scores.row.masked_fill(~listable.known, -torch.inf)[None]
    first = exact_topk(shared, min(num_items, k + most_gone))[0][0]
    first = first[first != NO_ROW]
    places = torch.full((num_items,), NO_ROW, device=first.device)
    places[first] = torch.arange(len(first), device=first.device)
    is_gone = torch.zeros((num_queries, len(first) + 1), dtype=torch.bool, device=first.device)
    is_gone[queries, places[items]] = True  # the spare last column takes what is not among the first
    ordinals = (~is_gone[:, :-1]).cumsum(1)
    lists, columns = torch.nonzero(~is_gone[:, :-1] & (ordinals <= k), as_tuple=True)
    rows, values = _rows_of_cells(cells, num_queries)
    rows = torch.cat([rows, rows.new_full((num_queries, k), NO_ROW)], 1)
    values = torch.cat([values, values.new_full((num_queries, k), -torch.inf)], 1)
    at = rows.shape[1] - k + ordinals[lists, columns] - 1
    rows[lists, at], values[lists, at] = first[columns], scores.row[first[columns]]
    return _best_of(rows, values, k)


def _rows_of_cells(cells: Cells, num_queries: int) -> tuple[Tensor, Tensor]:
    """Return items and values of the cells of each query, ``[E, n]``; ``NO_ROW`` and minus infinity behind them."""
    queries = cells.queries
    counts = torch.bincount(queries, minlength=num_queries)
    columns = torch.arange(len(queries), device=queries.device) - (counts.cumsum(0) - counts)[queries]
    shape = (num_queries, int(counts.max()) if len(queries) else 0)
    rows = torch.full(shape, NO_ROW, device=queries.device)
    values = torch.full(shape, -torch.inf, device=queries.device)
    rows[queries, columns], values[queries, columns] = cells.items, cells.values
    return rows, values


def _best_of(rows: Tensor, values: Tensor, k: int) -> Tensor:
    """Return the K rows of ``rows`` ``[E, n]`` with the highest values, of equal ones the lowest row first."""
    order = rows.argsort(1)
    rows, values = rows.gather(1, order), values.gather(1, order)
    places = exact_topk(values, k)[0]
    return rows.gather(1, places.clamp(min=0)).masked_fill_(places == NO_ROW, NO_ROW)
