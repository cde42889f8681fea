"""Named tables that grow, are reset, saved, loaded, checked and counted in one place, and not by each owner."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.tables.growing import NO_ROW, allocated_rows, grow_array, grow_table
from online_models.tables.state_reader import StateReader, Table, are_finite, copies
from online_models.tables.state_tree import Leaf, State

__all__ = ["Axis", "Rows", "TableSet"]

Int64 = npt.NDArray[np.int64]
_Number = TypeVar("_Number", bound=np.generic)
_BLOCK_ROWS = 4096
"""Rows searched together for references: bounds the scratch memory."""


class Axis(Enum):
    """What the rows of a table belong to."""

    USERS = "users"
    ITEMS = "items"


class _Part(Protocol):
    """What is saved and checked with its owner."""

    def state(self) -> State: ...

    def load(self, state: State) -> None: ...

    def is_finite(self) -> bool: ...


_AnyPart = TypeVar("_AnyPart", bound=_Part)


@dataclass(frozen=True, slots=True)
class Rows:
    """What the rows of a table that grows belong to, how they begin, and what is forgotten in them."""

    axis: Axis
    fill: float = 0
    """Value of new rows, and of rows that are reset."""
    reset_to: float | None = None
    """Value of rows that are reset, where it is another one than ``fill``."""
    first: Callable[[Int64], Tensor] | None = None
    """Values of these rows, ``[n]`` int64, when they are new or reset, where they are not all alike."""
    refers_to: Axis | None = None
    """Whose rows the values name; ``NO_ROW`` takes the place of one that is reset."""
    cleared_with: tuple[str, ...] = ()
    """Tables of the same shape, which become 0 wherever such a reference is taken out."""


class TableSet:
    """Base class of whatever owns tables: a subclass makes each of them once, and uses it as a plain attribute.

    A table that grows is allocated by doubling, so that it holds more rows than are in use; what is saved are those in
    use. Parts are saved, loaded and checked with their owner; those that are table sets themselves also grow and are
    reset with it.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.num_users = self.num_items = 0
        """Rows in use."""
        self._rows: dict[str, Rows] = {}
        self._fixed: dict[str, Table] = {}
        self._parts: dict[str, _Part] = {}
        self._counters: list[str] = []
        self._constants: dict[str, int | str | list[str]] = {}

    def tensor(self, name: str, rows: Rows, width: tuple[int, ...] = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a table ``[0, *width]`` on the device, to be kept as attribute ``name``, which is also its part."""
        self._rows[name] = rows
        return torch.zeros((0, *width), dtype=dtype, device=self.device)

    def array(self, name: str, rows: Rows, width: tuple[int, ...], dtype: type[_Number]) -> npt.NDArray[_Number]:
        """Return a table ``[0, *width]`` in host memory, to be kept as attribute ``name``, which is also its part."""
        self._rows[name] = rows
        return np.zeros((0, *width), dtype)

    def fixed(self, name: str, table: Tensor) -> Tensor:
        """Return ``table``, which never grows and is never replaced, as part ``name`` of the state."""
        self._fixed[name] = table
        return table

    def part(self, name: str, owner: _AnyPart) -> _AnyPart:
        """Return ``owner`` as part ``name`` of the state."""
        self._parts[name] = owner
        return owner

    def counter(self, name: str) -> int:
        """Return 0, to be kept as attribute ``name``: a whole number that is part of the state."""
        self._counters.append(name)
        return 0

    def constant(self, name: str, value: int | str | list[str]) -> None:
        """Let a state be refused unless it was made with this ``value``."""
        self._constants[name] = value

    def grow(self, num_users: int, num_items: int = 0) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        self.num_users, self.num_items = max(self.num_users, num_users), max(self.num_items, num_items)
        for name, how in self._rows.items():
            self._grow_table(name, how)
        for part in self._parts.values():
            if isinstance(part, TableSet):
                part.grow(num_users, num_items)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget these rows, and every reference to them, as if they had never been used; ``[n]`` int64 each."""
        for axis, rows in ((Axis.USERS, user_rows), (Axis.ITEMS, item_rows)):
            if len(rows):
                self._reset_rows(axis, rows)
                self._forget_references(axis, rows)
        for part in self._parts.values():
            if isinstance(part, TableSet):
                part.reset(user_rows, item_rows)

    def state(self) -> State:
        """Return a copy of everything remembered, of the rows in use alone."""
        counters: dict[str, Leaf] = {name: getattr(self, name) for name in self._counters}
        parts = {name: part.state() for name, part in self._parts.items()}
        return {**copies(self._used()), **counters, **self._constants, **parts}

    def load(self, state: State) -> None:
        """Take over what ``state`` returned; from now on everything is bit for bit as it was there.

        This owner has just been made with the same settings, and grown to as many users and items.

        Raises:
            StateError: it was made with other settings, or is of other numbers of rows; this owner is of no more use.
        """
        self.read(StateReader(state, self.names()))

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity; tables stay on their device."""
        return are_finite(self._used().values()) and all(part.is_finite() for part in self._parts.values())

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) rows of what grows, by the name of its axis."""
        sizes: dict[str, tuple[int, int]] = {}
        for part in self._parts.values():
            if isinstance(part, TableSet):
                sizes.update(part.sizes())
        for name, how in self._rows.items():
            sizes[how.axis.value] = self._num_used(how.axis), len(getattr(self, name))
        return sizes

    def names(self) -> list[str]:
        """Return the names of all parts of the state."""
        return [*self._rows, *self._fixed, *self._counters, *self._constants, *self._parts]

    def read(self, reader: StateReader) -> None:
        """Take over what is named by ``names``; for a subclass whose state has more parts than these."""
        for name, value in self._constants.items():
            reader.expect(name, value)
        reader.fill(self._used())
        for name in self._counters:
            setattr(self, name, reader.count(name))
        for name, part in self._parts.items():
            reader.give(name, part)

    def to(self, array: npt.NDArray[np.generic]) -> Tensor:
        """Return a copy of ``array`` on the device, or the same memory where that is the CPU."""
        return torch.from_numpy(array).to(self.device)

    def _num_used(self, axis: Axis) -> int:
        return self.num_users if axis is Axis.USERS else self.num_items

    def _used(self) -> dict[str, Table]:
        used = {name: getattr(self, name)[: self._num_used(how.axis)] for name, how in self._rows.items()}
        return {**used, **self._fixed}

    def _grow_table(self, name: str, how: Rows) -> None:
        table: Table = getattr(self, name)
        old = len(table)
        size = allocated_rows(self._num_used(how.axis), old)
        if size == old:
            return
        grown = _grown(table, size, how.fill)
        if how.first:
            grown[old:] = how.first(np.arange(old, size))
        setattr(self, name, grown)

    def _reset_rows(self, axis: Axis, rows: Int64) -> None:
        for name, how in self._rows.items():
            if how.axis is axis:
                table = getattr(self, name)
                places = rows if isinstance(table, np.ndarray) else self.to(rows)
                table[places] = how.first(rows) if how.first else how.fill if how.reset_to is None else how.reset_to

    def _forget_references(self, axis: Axis, rows: Int64) -> None:
        gone = np.zeros(max(self._num_used(axis), int(rows.max()) + 1) + 1, np.bool_)
        gone[rows] = True  # the last place is False: NO_ROW points there
        for name, how in self._rows.items():
            if how.refers_to is not axis:
                continue
            others = [getattr(self, other) for other in how.cleared_with]
            for table, *cleared in self._blocks(getattr(self, name), others, self._num_used(how.axis)):
                _take_out(table, cleared, gone)

    @staticmethod
    def _blocks(table: Table, others: list[Table], num_used: int) -> Iterator[tuple[Table, ...]]:
        for start in range(0, num_used, _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, num_used))
            yield table[block], *(other[block] for other in others)


def _grown(table: Table, num_rows: int, fill: float) -> Table:
    if isinstance(table, Tensor):
        return grow_table(table, num_rows, fill)
    return grow_array(table, num_rows, int(fill))


def _take_out(table: Table, cleared: list[Table], gone: npt.NDArray[np.bool_]) -> None:
    """Replace the rows named in ``table`` that are ``gone``, and what stands for them in the other tables."""
    if isinstance(table, Tensor):
        hit: Any = torch.from_numpy(gone).to(table.device)[table.long()]
    else:
        hit = gone[table]
    table[hit] = NO_ROW
    for other in cleared:
        other[hit] = 0
