"""Adam on tables that grow and whose rows are reset, and what is done to gradients before any optimizer sees them."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from online_models.tables.growing import grow_table
from online_models.tables.state_reader import StateReader, Table, are_finite, copies
from online_models.tables.state_tree import State

__all__ = ["Adam", "clipped", "sum_by_row"]

_BETA1, _BETA2 = 0.9, 0.98


class Adam:
    """First and second moments of named tables; the caller owns the tables.

    Source: Kingma and Ba, ICLR 2015, arXiv:1412.6980, without weight decay. With ``rows`` only the
    moments of those rows move (the lazy variant of sparse tables).
    """

    def __init__(self, learning_rate: float, epsilon: float = 1e-8) -> None:
        self.learning_rate = learning_rate
        self.epsilon = epsilon  # gradients far below it hardly move anything
        self.num_steps = 0
        self.means: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self.num_used: dict[str, int] = {}  # rows in use of the tables that grow

    def add(self, name: str, table: Tensor, num_used: int | None = None) -> None:
        """Keep moments for ``table``, growing them with it; of one that grows ``num_used`` rows are in use."""
        if num_used is not None:
            self.num_used[name] = num_used
        if name not in self.means:
            self.means[name], self.squares[name] = torch.zeros_like(table), torch.zeros_like(table)
        elif len(self.means[name]) < len(table):
            self.means[name] = grow_table(self.means[name], len(table))
            self.squares[name] = grow_table(self.squares[name], len(table))

    def reset(self, name: str, rows: Tensor) -> None:
        """Forget the moments of ``rows``."""
        self.means[name][rows] = 0.0
        self.squares[name][rows] = 0.0

    def step(
        self,
        tables: Mapping[str, Tensor],
        gradients: list[Tensor],
        rows: Mapping[str, Tensor] = MappingProxyType({}),
        share: float = 1.0,
    ) -> None:
        """Move each table in place: its first rows, as many as its gradient has, or those at its ``rows``.

        Args:
            gradients: of the tables, in their order.
            rows: int64, of the tables that are named here.
            share: of the learning rate.
        """
        self.num_steps += 1
        owners = [(table, self.means[name], self.squares[name]) for name, table in tables.items()]
        places = [rows.get(name, slice(len(gradient))) for name, gradient in zip(tables, gradients, strict=True)]
        parts = [[table[place] for table in three] for three, place in zip(owners, places, strict=True)]
        moved, means, squares = map(list, zip(*parts, strict=True))
        self._move(moved, means, squares, gradients, share)
        for three, place, part in zip(owners, places, parts, strict=True):
            if not isinstance(place, slice):  # else the part was the table itself
                for table, values in zip(three, part, strict=True):
                    table[place] = values

    def state(self) -> State:
        """Return a copy of all moments, of the rows in use."""
        means, squares = self._tables()
        return {"num_steps": self.num_steps, "means": copies(means), "squares": copies(squares)}

    def load(self, state: State) -> None:
        """Take over what ``state`` returned for the same tables; raises StateError when it does not fit."""
        parts = StateReader(state, ["num_steps", "means", "squares"])
        self.num_steps = parts.count("num_steps")
        for name, tables in zip(("means", "squares"), self._tables(), strict=True):
            with parts.below(name) as moments:
                StateReader(moments, tables).fill(tables)

    def is_finite(self) -> bool:
        """Return whether no moment is NaN or infinite."""
        return are_finite([*self.means.values(), *self.squares.values()])

    def _tables(self) -> tuple[dict[str, Table], dict[str, Table]]:
        used = {name: slice(self.num_used.get(name)) for name in self.means}
        means: dict[str, Table] = {name: self.means[name][rows] for name, rows in used.items()}
        squares: dict[str, Table] = {name: self.squares[name][rows] for name, rows in used.items()}
        return means, squares

    def _move(
        self, tables: list[Tensor], means: list[Tensor], squares: list[Tensor], gradients: list[Tensor], share: float
    ) -> None:
        # Over all tables at once: most are small, and cost more in calls than in what is done.
        torch._foreach_lerp_(means, gradients, 1.0 - _BETA1)
        torch._foreach_mul_(squares, _BETA2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - _BETA2)
        correction = (1.0 - _BETA2**self.num_steps) ** 0.5
        step = share * self.learning_rate * correction / (1.0 - _BETA1**self.num_steps)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, self.epsilon)
        torch._foreach_addcdiv_(tables, means, roots, -step)


def clipped(gradients: list[Tensor], longest: float) -> tuple[list[Tensor], Tensor]:
    """Return the gradients, scaled so that their joint norm is at most ``longest``, and whether that was a number."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    factor = (longest / (norm + 1e-6)).clamp(max=1.0)
    return list(torch._foreach_mul(gradients, factor)), torch.isfinite(norm)


def sum_by_row(rows: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different rows ``[n]`` and the sum of the gradients of each ``[n, D]``.

    Adagrad is not additive: two half steps move a row further than one whole step, so repeats are
    summed before the accumulator sees them.
    """
    different, inverse = torch.unique(rows, return_inverse=True)
    sums = torch.zeros((len(different), gradients.shape[1]), dtype=gradients.dtype, device=gradients.device)
    return different, sums.index_add_(0, inverse, gradients)
