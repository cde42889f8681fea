"""Biased matrix factorisation, learned pairwise against drawn negatives."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from online_models.config import LearnerConfig
from online_models.optim.adam import sum_by_row
from online_models.runtime.seeds import Salt, draws_of
from online_models.tables.growing import allocated_rows, fresh_rows, grow_table
from online_models.tables.state_reader import Parts, Table, are_finite, copies
from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["MatrixFactorization"]

Int64 = npt.NDArray[np.int64]
_INIT_SCALE = 0.1
_EPSILON = 1e-8


class MatrixFactorization:
    """A row per user, a row and a bias per item; the score is their product plus the bias.

    Source: Rendle et al., UAI 2009, arXiv:1205.2618 (BPR-Opt, without its regulariser); row-wise
    Adagrad: one accumulator per row, the mean of the squared gradient over the width.
    """

    def __init__(self, config: LearnerConfig, device: torch.device) -> None:
        self.config = config.mf
        self.seed = config.seed
        self.device = device
        self.num_learned = 0  # sub-steps: the next one's draws are those of this number
        # The last column of an item is its bias, the last of a user is always 1.
        self.users = torch.zeros((0, self.config.width + 1), device=device)
        self.items = torch.zeros((0, self.config.width + 1), device=device)
        self.user_squares = torch.zeros(0, device=device)
        self.item_squares = torch.zeros(0, device=device)
        self.num_used_users = self.num_used_items = 0

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        self.num_used_users = max(self.num_used_users, num_users)
        self.num_used_items = max(self.num_used_items, num_items)
        old_users, old_items = len(self.users), len(self.items)
        size = allocated_rows(num_users, old_users)
        if size > old_users:
            self.users, self.user_squares = grow_table(self.users, size), grow_table(self.user_squares, size)
            self.users[old_users:, -1] = 1.0
        size = allocated_rows(num_items, old_items)
        if size > old_items:
            self.items, self.item_squares = grow_table(self.items, size), grow_table(self.item_squares, size)
            self.reset(np.empty(0, np.int64), np.arange(old_items, size))

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Give these rows their first values again, and forget how far they had been moved.

        Users begin at zero, so that all who were never seen are alike; the items, no two of them alike, set them apart.
        """
        users, items = (torch.from_numpy(rows).to(self.device) for rows in (user_rows, item_rows))
        first_items = fresh_rows(self.seed * 2 + 1, item_rows, self.config.width, _INIT_SCALE)
        self.users[users, :-1] = 0.0
        self.items[items] = functional.pad(torch.from_numpy(first_items).to(self.device), (0, 1))
        self.user_squares[users] = 0.0
        self.item_squares[items] = 0.0

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the products of the users' and all items' rows: ``[R, num_items]``."""
        users = torch.from_numpy(context.user_rows).to(self.device)
        is_new = users >= len(self.users)
        rows = self.users[users.masked_fill(is_new, 0)].masked_fill(is_new[:, None], 0.0)
        rows[:, -1] = 1.0
        return rows @ self.items[:num_items].T

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]``."""
        return self.score(step.context, num_items)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Raise every positive event's item above the drawn ones, and lower every negative event's item."""
        rng = draws_of(self.seed, Salt.FACTORIZATION, self.num_learned)
        self.num_learned += 1
        users, targets = (
            torch.from_numpy(rows).to(self.device) for rows in (step.batch.user_rows, step.batch.item_rows)
        )
        weights = torch.from_numpy(step.batch.weights).to(self.device)
        choices = torch.nonzero(known)[:, 0]
        if not len(choices):
            return True
        drawn = choices[torch.from_numpy(rng.integers(0, len(choices), self.config.num_negatives)).to(self.device)]
        rows, item_rows, drawn_rows = self.users[users], self.items[targets], self.items[drawn]
        scores = (rows * item_rows).sum(1)
        # Slope of log sigmoid(gap), averaged over the N drawn items; of log sigmoid(-score) for evidence against.
        pairs = torch.sigmoid(rows @ drawn_rows.T - scores[:, None]) * (drawn != targets[:, None]) / len(drawn)
        pairs = pairs * weights.clamp(min=0.0)[:, None]
        rise = pairs.sum(1) - torch.sigmoid(scores) * (-weights).clamp(min=0.0)
        user_gradients = pairs @ drawn_rows - rise[:, None] * item_rows
        item_gradients = torch.cat([-rise[:, None] * rows, pairs.T @ rows])
        user_gradients[:, -1] = 0.0
        if not bool(torch.isfinite(user_gradients).all() & torch.isfinite(item_gradients).all()):
            return False
        self._move(self.users, self.user_squares, users, user_gradients)
        self._move(self.items, self.item_squares, torch.cat([targets, drawn]), item_gradients)
        return True

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {**copies(self._tables()), "num_learned": self.num_learned}

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and items; raises StateError when it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "num_learned"])
        parts.fill(tables)
        self.num_learned = parts.count("num_learned")

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity."""
        return are_finite(self._tables().values())

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {
            "mf.users": (self.num_used_users, len(self.users)),
            "mf.items": (self.num_used_items, len(self.items)),
        }

    def _tables(self) -> dict[str, Table]:
        return {
            "users": self.users[: self.num_used_users],
            "user_squares": self.user_squares[: self.num_used_users],
            "items": self.items[: self.num_used_items],
            "item_squares": self.item_squares[: self.num_used_items],
        }

    def _move(self, table: Tensor, squares: Tensor, rows: Tensor, gradients: Tensor) -> None:
        rows, sums = sum_by_row(rows, gradients)
        squares[rows] += sums.square().mean(1)
        table[rows] -= self.config.learning_rate * sums / (squares[rows].sqrt() + _EPSILON)[:, None]
