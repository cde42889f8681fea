"""What a user took lately, for domains where people come back to the same items."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.config import RecencyConfig
from online_models.tables.state_reader import Parts
from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["Recency"]

Int64 = npt.NDArray[np.int64]
_SMOOTHING = 0.01
"""What every item is taken to have: one that is not in the history is unlikely, not impossible."""


class Recency:
    """Scores the items of the history by how recent and how frequent they are there; learns nothing.

    Where owned items are never listed, these scores are equal for all that is left and change nothing.
    """

    def __init__(self, config: RecencyConfig, history_length: int, device: torch.device) -> None:
        self.device = device
        powers = config.position_decay ** torch.arange(history_length, dtype=torch.float32)
        self.position_weights = powers.to(device)

    def grow(self, num_users: int, num_items: int) -> None:
        """Nothing grows here: the histories belong to the learner."""

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Nothing is remembered here: the learner takes reset rows out of the histories."""

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logarithm of the decayed count of each item in the history: ``[R, num_items]``."""
        rows = torch.from_numpy(context.item_rows).to(self.device)
        worth = self.position_weights * (rows != NO_ROW)
        scores = torch.zeros((len(rows), num_items), device=self.device)
        return scores.scatter_add_(1, rows.clamp(min=0), worth).add_(_SMOOTHING).log_()

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]``."""
        return self.score(step.context, num_items)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Return True: there is nothing to learn."""
        return True

    def state(self) -> State:
        """Return nothing: nothing is learned here."""
        return {}

    def load(self, state: State) -> None:
        """Take nothing over; raises StateError when there is something."""
        Parts(state, [])

    def is_finite(self) -> bool:
        """Return True: there is no table."""
        return True

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return nothing: nothing grows here."""
        return {}
