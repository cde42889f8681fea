"""Products of queries and tables whose bits do not depend on how many queries are asked together."""

from functools import cache

import torch
from torch import Tensor

__all__ = ["FEWEST_ROWS", "add_products", "padded_rows", "row_products"]

FEWEST_ROWS = 4
"""Matrix products round one to three rows otherwise than many: fewer are never asked."""
_SLICE = 16
"""Rows asked together where four are not rounded as many are."""


def row_products(bias: Tensor, rows: Tensor, table: Tensor) -> Tensor:
    """Return ``bias + rows @ table.T``, each row as it would be among any number of others.

    Args:
        bias: ``[m]`` float32, or ``[n, 1]``.
        rows: ``[n, D]`` float32.
        table: ``[m, D]`` float32.

    Returns:
        ``[n, m]`` float32.
    """
    if rows.device.type == "cpu" and not _are_four_enough():
        parts = range(0, len(rows), _SLICE)
        whole = [_padded(bias, rows[at : at + _SLICE], table, _SLICE, at) for at in parts]
        return torch.cat(whole) if whole else rows.new_empty((0, len(table)))
    return _padded(bias, rows, table, FEWEST_ROWS, 0)


def _padded(bias: Tensor, rows: Tensor, table: Tensor, least: int, at: int) -> Tensor:
    """Return the product of ``rows``, asked with the last one repeated where they are fewer than ``least``."""
    num_rows = len(rows)
    if bias.ndim == 2:
        bias = bias[at : at + num_rows]
    if 0 < num_rows < least:
        repeated = [*range(num_rows), *[num_rows - 1] * (least - num_rows)]
        rows, bias = rows[repeated], bias[repeated] if bias.ndim == 2 else bias
    return torch.addmm(bias, rows, table.T)[:num_rows]


def padded_rows(num_rows: int) -> int:
    """Return how many rows a table must have for ``add_products`` to so many of them."""
    return -(-num_rows // _SLICE) * _SLICE if not _are_four_enough() else max(FEWEST_ROWS, num_rows)


def add_products(table: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Add ``rows @ columns`` to the first rows of ``table``, each with the bits that it has among any number of others.

    Args:
        table: ``[padded_rows(n), m]`` float32.
        rows: ``[n, D]`` float32.
        columns: ``[D, m]`` float32.
    """
    if len(rows) < len(table):
        rows = torch.cat([rows, rows.new_zeros((len(table) - len(rows), rows.shape[1]))])
    most = max(1, len(table)) if _are_four_enough() else _SLICE
    for start in range(0, len(table), most):
        table[start : start + most].addmm_(rows[start : start + most], columns)


@cache
def _are_four_enough() -> bool:
    """Return whether this machine's products of four rows have the bits of those of many, by trying some."""
    generator = torch.Generator().manual_seed(0)
    for width, num_columns in ((64, 4096), (12, 4096), (64, 1001)):
        rows, table = (torch.randn((size, width), generator=generator) for size in (64, num_columns))
        bias = torch.randn(num_columns, generator=generator)
        many = torch.addmm(bias, rows, table.T)
        if not all(torch.equal(torch.addmm(bias, rows[:n], table.T), many[:n]) for n in (4, 5, 7, 16)):
            return False
    return True
