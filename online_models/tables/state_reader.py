"""The parts of a state: tables go out as copies, and come back checked or are refused by name."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.errors import StateError
from online_models.tables.state_tree import Array, State

__all__ = ["StateReader", "Table", "are_finite", "copies"]

Table: TypeAlias = Tensor | Array
"""A view of the rows of a table that are in use, on any device."""
_Number = TypeVar("_Number", bound=np.generic)


class Stateful(Protocol):
    """What has a state."""

    def load(self, state: State) -> None:
        """Take ``state`` over; raises StateError when it is not one of its own."""


def copies(tables: Mapping[str, Table]) -> dict[str, Array]:
    """Return the values of ``tables`` in host memory of their own."""
    return {name: _copied(table) for name, table in tables.items()}


def _copied(table: Table) -> Array:
    if isinstance(table, Tensor):
        array: Array = table.detach().to("cpu", copy=True).numpy()
        return array
    return table.copy()


def are_finite(tables: Iterable[Table]) -> bool:
    """Return whether no number of ``tables`` is NaN or infinite; one truth value leaves the device."""
    held = [torch.from_numpy(table) if isinstance(table, np.ndarray) else table.detach() for table in tables]
    # The extremes take one pass and no scratch memory, and NaN is the extreme of whatever holds it.
    extremes = [torch.stack(torch.aminmax(table)) for table in held if table.is_floating_point() and table.numel()]
    return not extremes or bool(torch.stack([torch.isfinite(pair).all() for pair in extremes]).all())


class StateReader:
    """A state while its owner takes it over.

    Every method raises StateError when what is there is not what the owner expects. The message begins with the path
    of the part: ``scorers/mf/users: expected float32 [8, 65], got float32 [8, 33]``.
    """

    def __init__(self, state: State, names: Iterable[str]) -> None:
        """Open ``state``, which must have exactly the parts called ``names``."""
        expected = list(names)
        for name in expected:
            if name not in state:
                raise StateError(f"{name}: expected this part, got none")
        for name in state:
            if name not in expected:
                raise StateError(f"{name}: expected no part of this name, got one")
        self._state = state

    def array(self, name: str, dtype: type[_Number], shape: tuple[int | None, ...]) -> npt.NDArray[_Number]:
        """Return an array of this dtype and shape, None standing for any length; it is not copied."""
        value, wanted = self._state[name], np.dtype(dtype)
        expected = f"{name}: expected {wanted} [{', '.join('*' if size is None else str(size) for size in shape)}]"
        if not isinstance(value, np.ndarray):
            raise StateError(f"{expected}, got a {type(value).__name__}")
        fits = len(shape) == value.ndim and all(
            size in (None, got) for size, got in zip(shape, value.shape, strict=True)
        )
        if value.dtype != wanted or not fits:
            raise StateError(f"{expected}, got {value.dtype} {list(value.shape)}")
        return cast(npt.NDArray[_Number], value)

    def fill(self, tables: Mapping[str, Table]) -> None:
        """Copy each part called like one of ``tables`` into it; dtype and shape must be the table's."""
        for name, table in tables.items():
            if isinstance(table, Tensor):
                value = self.array(name, _numpy_type(table), tuple(table.shape))
                # torch warns of an array that it could not write to, as those of a mapped file are.
                table.copy_(torch.from_numpy(np.require(value, requirements=["C", "W"])))
            else:
                table[...] = self.array(name, table.dtype.type, table.shape)

    def count(self, name: str) -> int:
        """Return a whole number, at least 0."""
        value = self._state[name]
        if type(value) is not int or value < 0:
            raise StateError(f"{name}: expected a whole number >= 0, got {_shown(value)}")
        return value

    def number(self, name: str) -> float:
        """Return a finite number."""
        value = self._state[name]
        if type(value) is not float or not np.isfinite(value):
            raise StateError(f"{name}: expected a finite number, got {_shown(value)}")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a copy of a list of texts."""
        value = self._state[name]
        if not isinstance(value, list):
            raise StateError(f"{name}: expected a list of texts, got {_shown(value)}")
        return list(value)

    def expect(self, name: str, wanted: int | str | list[str]) -> None:
        """Refuse the state unless this part is what the owner was made with."""
        value = self._state[name]
        if type(value) is not type(wanted) or value != wanted:
            raise StateError(f"{name}: expected {wanted!r}, got {_shown(value)}")

    def give(self, name: str, owner: Stateful) -> None:
        """Let ``owner`` take over the part called ``name``."""
        with self.below(name) as state:
            owner.load(state)

    @contextmanager
    def below(self, name: str) -> Iterator[State]:
        """Give the state of a part; what is refused meanwhile is named below it."""
        value = self._state[name]
        if not isinstance(value, Mapping):
            raise StateError(f"{name}: expected parts, got {_shown(value)}")
        try:
            yield value
        except StateError as error:
            raise StateError(f"{name}/{error}") from None


def _numpy_type(table: Tensor) -> type[np.generic]:
    scalar: type[np.generic] = torch.empty(0, dtype=table.dtype).numpy().dtype.type
    return scalar


def _shown(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, str | bytes | int | float):
        return repr(value)[:80]
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | Mapping) else type(value).__name__
