"""Adam on tables that grow and whose rows are reset, and what is done to gradients before any optimizer sees them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from online_models.parts import Parts, Table, are_finite, copies
from online_models.state import State
from online_models.tables import grow_table

__all__ = ["Adam", "clip_factor", "sum_by_row"]

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
        self.share = 1.0  # of the learning rate, in the step that has begun
        self.means: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}

    def add(self, name: str, table: Tensor) -> None:
        """Keep moments for ``table``, growing them with it."""
        if name not in self.means:
            self.means[name], self.squares[name] = torch.zeros_like(table), torch.zeros_like(table)
        elif len(self.means[name]) < len(table):
            self.means[name] = grow_table(self.means[name], len(table))
            self.squares[name] = grow_table(self.squares[name], len(table))

    def reset(self, name: str, rows: Tensor) -> None:
        """Forget the moments of ``rows``."""
        self.means[name][rows] = 0.0
        self.squares[name][rows] = 0.0

    def begin(self, share: float = 1.0) -> None:
        """Count one step, of this share of the learning rate; all tables updated until the next call belong to it."""
        self.num_steps += 1
        self.share = share

    def update(self, name: str, table: Tensor, gradient: Tensor, rows: Tensor | None = None) -> None:
        """Move the first ``len(gradient)`` rows of ``table`` in place, or those at ``rows``."""
        means, squares = self.means[name], self.squares[name]
        if rows is None:
            size = len(gradient)
            self._move(table[:size], gradient, means[:size], squares[:size])
            return
        part, mean, square = table[rows], means[rows], squares[rows]
        self._move(part, gradient, mean, square)
        table[rows], means[rows], squares[rows] = part, mean, square

    def state(self, num_used: Mapping[str, int]) -> State:
        """Return a copy of all moments; of the tables named in ``num_used``, of so many rows."""
        means, squares = self._tables(num_used)
        return {"num_steps": self.num_steps, "means": copies(means), "squares": copies(squares)}

    def load(self, state: State, num_used: Mapping[str, int]) -> None:
        """Take over what ``state`` returned for the same tables; raises StateError when it does not fit."""
        parts = Parts(state, ["num_steps", "means", "squares"])
        self.num_steps = parts.count("num_steps")
        for name, tables in zip(("means", "squares"), self._tables(num_used), strict=True):
            with parts.below(name) as moments:
                Parts(moments, tables).fill(tables)

    def is_finite(self) -> bool:
        """Return whether no moment is NaN or infinite."""
        return are_finite([*self.means.values(), *self.squares.values()])

    def _tables(self, num_used: Mapping[str, int]) -> tuple[dict[str, Table], dict[str, Table]]:
        used = {name: slice(num_used.get(name)) for name in self.means}
        means: dict[str, Table] = {name: self.means[name][rows] for name, rows in used.items()}
        squares: dict[str, Table] = {name: self.squares[name][rows] for name, rows in used.items()}
        return means, squares

    def _move(self, table: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        mean.lerp_(gradient, 1.0 - _BETA1)
        square.mul_(_BETA2).addcmul_(gradient, gradient, value=1.0 - _BETA2)
        correction = (1.0 - _BETA2**self.num_steps) ** 0.5
        step = self.share * self.learning_rate * correction / (1.0 - _BETA1**self.num_steps)
        table.addcdiv_(mean, square.sqrt().add_(self.epsilon), value=-step)


def clip_factor(gradients: list[Tensor], longest: float) -> Tensor:
    """Return what all gradients must be multiplied by so that their joint norm is at most ``longest``."""
    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
    factor: Tensor = longest / (torch.linalg.vector_norm(norms) + 1e-6)
    return factor.clamp(max=1.0)


def sum_by_row(rows: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different rows ``[n]`` and the sum of the gradients of each ``[n, D]``.

    Adagrad is not additive: two half steps move a row further than one whole step, so repeats are
    summed before the accumulator sees them.
    """
    different, inverse = torch.unique(rows, return_inverse=True)
    sums = torch.zeros((len(different), gradients.shape[1]), dtype=gradients.dtype, device=gradients.device)
    return different, sums.index_add_(0, inverse, gradients)
