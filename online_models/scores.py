"""What a scorer answers: one row for everybody and the few cells where a query differs from it, or a whole table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Candidates", "Cells", "Scores", "constant"]

_ITEMS_PER_CELL = 2
"""Finding one cell costs about as much as writing out two items."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which items are scored."""

    num_items: int
    """I, rows of the catalogue."""

    @classmethod
    def all(cls, num_items: int) -> "Candidates":
        """Return the whole catalogue of ``num_items`` rows."""
        return cls(num_items)

    def is_table_cheaper(self, most_cells: int) -> bool:
        """Return whether up to ``most_cells`` cells a query may cost more to find than a score for every item."""
        return self.num_items <= _ITEMS_PER_CELL * most_cells


@dataclass(frozen=True, slots=True)
class Cells:
    """Numbers of n different places of a table ``[E, I]``, in the order of the table."""

    keys: Tensor
    """``[n]`` int64, ascending: row times I plus column."""
    values: Tensor
    """``[n]`` float32."""
    num_items: int
    """I."""

    @property
    def queries(self) -> Tensor:
        """Return the row of each: ``[n]`` int64."""
        return torch.div(self.keys, self.num_items, rounding_mode="floor")

    @property
    def items(self) -> Tensor:
        """Return the column of each: ``[n]`` int64."""
        return self.keys % self.num_items

    @classmethod
    def summed(cls, queries: Tensor, items: Tensor, values: Tensor, num_items: int) -> "Cells":
        """Return the sums of ``values`` ``[n]`` float32 by place, each added up in the order of ``values``.

        Args:
            queries: ``[n]`` int64, row of each.
            items: ``[n]`` int64, column of each.
            values: ``[n]`` float32.
            num_items: I.
        """
        keys = queries * num_items + items
        if not len(keys):
            return cls(keys, values, num_items)
        if keys.device.type != "cpu":
            different, inverse = torch.unique(keys, return_inverse=True)
            return cls(different, torch.zeros_like(values[: len(different)]).index_add_(0, inverse, values), num_items)
        # A sort of one number, place before order, is several times as fast as one of two arrays.
        bits = max(1, (len(keys) - 1).bit_length())
        packed = np.sort((keys.numpy() << bits) | np.arange(len(keys)))
        places, order = packed >> bits, packed & ((1 << bits) - 1)
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]])
        sums = np.add.reduceat(values.numpy()[order], starts)
        return cls(torch.from_numpy(places[starts]), torch.from_numpy(sums), num_items)

    @classmethod
    def of(cls, queries: Tensor, items: Tensor, values: Tensor, num_items: int) -> "Cells":
        """Return the cells of places that differ from one another, in any order; see ``summed``."""
        keys, order = torch.sort(queries * num_items + items)
        return cls(keys, values[order], num_items)

    def mapped(self, change: Callable[[Tensor, Tensor], Tensor]) -> "Cells":
        """Return the same places with the values that ``change`` makes of items and values, ``[n]`` each."""
        return Cells(self.keys, change(self.items, self.values), self.num_items)

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each of ``keys``, of any shape, whether it is a place of these, and where among them it is."""
        if not len(self.keys):
            return torch.zeros_like(keys, dtype=torch.bool), torch.zeros_like(keys)
        places = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return self.keys[places] == keys, places


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of all I items for E queries: ``dense``, or ``shared`` but for ``cells``."""

    num_queries: int
    """E."""
    shared: Tensor | None = None
    """``[I]`` float32, the same for every query."""
    cells: Cells | None = None
    """Where a query's score is another one."""
    dense: Tensor | None = None
    """``[E, I]`` float32, or of more queries than these."""
    picked: Tensor | None = None
    """``[E]`` int64: which rows of ``dense`` are those of these queries; None: all."""

    @property
    def num_items(self) -> int:
        """Return I."""
        return len(self.row) if self.dense is None else self.dense.shape[1]

    @property
    def row(self) -> Tensor:
        """Return ``shared``, which is there."""
        assert self.shared is not None, "these scores are a table"
        return self.shared

    @property
    def is_constant(self) -> bool:
        """Return whether ``shared`` is one number in one place of memory, as ``expand`` makes it."""
        return self.shared is not None and self.shared.stride(0) == 0

    def columns(self, items: slice) -> Tensor:
        """Return the scores of these items where ``dense`` holds them, ``[E, n]``."""
        assert self.dense is not None, "these scores are a shared row"
        part = self.dense[:, items]
        return part if self.picked is None else part.index_select(0, self.picked)

    def take(self, queries: Tensor) -> "Scores":
        """Return the scores of these queries, ``[n]`` int64, ascending."""
        if self.dense is not None:
            return Scores(
                len(queries), dense=self.dense, picked=queries if self.picked is None else self.picked[queries]
            )
        cells = None
        if self.cells is not None:
            numbers = torch.full((self.num_queries,), -1, dtype=torch.int64, device=queries.device)
            numbers[queries] = torch.arange(len(queries), device=queries.device)
            renumbered = numbers[self.cells.queries]
            kept = renumbered >= 0
            num_items = self.cells.num_items
            keys = renumbered[kept] * num_items + self.cells.items[kept]
            cells = Cells(keys, self.cells.values[kept], num_items)
        return Scores(len(queries), self.shared, cells)

    def at(self, items: Tensor) -> Tensor:
        """Return the scores of these items, ``[E, N]`` int64 in 0..I-1: ``[E, N]`` float32."""
        if self.dense is not None:
            return self.dense.gather(1, items) if self.picked is None else self.dense[self.picked[:, None], items]
        scores = self.row[items]
        if self.cells is not None and len(self.cells.keys):
            rows = torch.arange(self.num_queries, device=items.device)[:, None]
            is_cell, places = self.cells.find(rows * self.cells.num_items + items)
            scores = torch.where(is_cell, self.cells.values[places], scores)
        return scores

    def table(self) -> Tensor:
        """Return all scores, ``[E, I]`` float32."""
        if self.dense is not None:
            return self.columns(slice(None))
        table = self.row.expand(self.num_queries, -1).clone(memory_format=torch.contiguous_format)
        if self.cells is not None:
            table.view(-1)[self.cells.keys] = self.cells.values
        return table


def constant(value: float, num_items: int, device: torch.device) -> Tensor:
    """Return a row ``[I]`` of one number, in one place of memory."""
    return torch.full((1,), value, device=device).expand(num_items)
