"""Biased matrix factorisation, learned pairwise against drawn negatives."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from online_models.config import LearnerConfig
from online_models.optim.adam import sum_by_row
from online_models.runtime.products import row_products
from online_models.runtime.seeds import Salt, draws_of
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Scores
from online_models.tables.growing import fresh_rows
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

__all__ = ["MatrixFactorization"]

Int64 = npt.NDArray[np.int64]
_INIT_SCALE = 0.1
_EPSILON = 1e-8


class MatrixFactorization(Scorer):
    """A row per user, a row and a bias per item; the score is their product plus the bias.

    Source: Rendle et al., UAI 2009, arXiv:1205.2618 (BPR-Opt, without its regulariser); row-wise
    Adagrad: one accumulator per row, the mean of the squared gradient over the width.
    """

    def __init__(self, config: LearnerConfig, device: torch.device) -> None:
        super().__init__(device)
        self.config = config.mf
        self.seed = config.seed
        self.num_learned = self.counter("num_learned")  # sub-steps: the next one's draws are those of this number
        # The last column of an item is its bias, the last of a user is always 1.
        width = (self.config.width + 1,)
        self.users = self.tensor("users", Rows(Axis.USERS, first=self._first_users), width)
        self.items = self.tensor("items", Rows(Axis.ITEMS, first=self._first_items), width)
        self.user_squares = self.tensor("user_squares", Rows(Axis.USERS))  # how far each row was moved
        self.item_squares = self.tensor("item_squares", Rows(Axis.ITEMS))

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the products of the users' and all items' rows."""
        users = self.to(context.user_rows)
        is_new = users >= len(self.users)
        rows = self.users[users.masked_fill(is_new, 0)].masked_fill(is_new[:, None], 0.0)
        rows[:, -1] = 1.0
        none = rows.new_zeros(candidates.num_items)
        return Scores(len(rows), dense=row_products(none, rows, self.items[: candidates.num_items]))

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Raise every positive event's item above the drawn ones, and lower every negative event's item."""
        rng = draws_of(self.seed, Salt.FACTORIZATION, self.num_learned)
        self.num_learned += 1
        users, targets = self.to(step.batch.user_rows), self.to(step.batch.item_rows)
        weights = self.to(step.batch.weights)
        choices = torch.nonzero(known)[:, 0]
        if not len(choices):
            return True
        drawn = choices[self.to(rng.integers(0, len(choices), self.config.num_negatives))]
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

    def _first_users(self, rows: Int64) -> Tensor:
        """Return zeros ``[n, D + 1]``, so that all who were never seen are alike, with the 1 that brings the bias."""
        return functional.pad(torch.zeros((len(rows), self.config.width)), (0, 1), value=1.0).to(self.device)

    def _first_items(self, rows: Int64) -> Tensor:
        """Return rows ``[n, D + 1]`` that set the users apart, no two of them alike, without a bias."""
        return functional.pad(self.to(fresh_rows(self.seed * 2 + 1, rows, self.config.width, _INIT_SCALE)), (0, 1))

    def _move(self, table: Tensor, squares: Tensor, rows: Tensor, gradients: Tensor) -> None:
        rows, sums = sum_by_row(rows, gradients)
        squares[rows] += sums.square().mean(1)
        table[rows] -= self.config.learning_rate * sums / (squares[rows].sqrt() + _EPSILON)[:, None]
