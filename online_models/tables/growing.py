"""Tables that grow by doubling and rows that begin the same wherever and whenever they are made."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["MIN_ROWS", "NO_ROW", "add_at", "allocated_rows", "count_up", "fresh_rows", "grow_array", "grow_table"]

_Number = TypeVar("_Number", bound=np.generic)

NO_ROW = -1
"""The one name for no item, no reason, an empty slot, padding."""

MIN_ROWS = 1024
"""Rows a table starts with."""


def allocated_rows(needed: int, allocated: int) -> int:
    """Return how many rows to allocate so that ``needed`` fit: doubling, so that growing stays rare."""
    size = max(allocated, MIN_ROWS)
    while size < needed:
        size *= 2
    return size


def count_up(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return 0, 1, 2… for each run, one run after the other: ``[lengths.sum()]`` int64."""
    ends = np.cumsum(lengths)
    ordinals: npt.NDArray[np.int64] = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    return ordinals


def grow_array(table: npt.NDArray[_Number], num_rows: int, fill: int) -> npt.NDArray[_Number]:
    """Return ``table`` with ``num_rows`` rows, the new ones holding ``fill``."""
    grown = np.full((num_rows, *table.shape[1:]), fill, table.dtype)
    grown[: len(table)] = table
    return grown


def grow_table(table: Tensor, num_rows: int, fill: float = 0.0) -> Tensor:
    """Return ``table`` with ``num_rows`` rows, the new ones holding ``fill``."""
    grown = torch.full((num_rows, *table.shape[1:]), fill, dtype=table.dtype, device=table.device)
    grown[: len(table)] = table
    return grown


def add_at(table: Tensor, rows: Tensor, columns: Tensor, values: Tensor) -> None:
    """Add ``values`` ``[n, S]`` to the contiguous ``table`` ``[R, C]`` at ``rows`` ``[n]`` and ``columns`` ``[n, S]``.

    On the CPU what comes to one place is added up in order. Like ``scatter_add_``, which would have the columns, int32
    in 0..C-1, copied as int64 first.
    """
    number = torch.int32 if table.numel() < 1 << 31 else torch.int64
    first = (rows * table.shape[1]).to(number)
    table.view(-1).index_add_(0, (columns + first[:, None]).flatten(), values.flatten())


def fresh_rows(seed: int, rows: npt.NDArray[np.int64], width: int, scale: float) -> npt.NDArray[np.float32]:
    """Return the first values of embedding rows: uniform with mean 0 and standard deviation ``scale``.

    A row's values depend on the seed and its number alone, so a table has the same content whether it
    grew early or late, in one go or in many, and a reset needs no random state.

    Args:
        rows: ``[n]`` int64.

    Returns:
        ``[n, width]`` float32.

    Source: the splitmix64 finaliser, Steele, Lea and Flood, OOPSLA 2014, as a counter-based generator.
    """
    mixed: npt.NDArray[np.uint64] = (rows[:, None] * width + np.arange(1, width + 1)).astype(np.uint64)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed += np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    uniform = (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    first: npt.NDArray[np.float32] = ((uniform - 0.5) * (scale * 12.0**0.5)).astype(np.float32)
    return first
