"""What every way of scoring items can do."""

from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["Scorer"]

Int64 = npt.NDArray[np.int64]


class Scorer(Protocol):
    """Scores every item for a question and learns from sub-steps. All columns are item rows.

    Scores are finite logarithms of how likely an item is, up to a constant per question, so that
    scorers can be mixed. Only ``grow``, ``reset``, ``learn`` and ``load`` change state.
    """

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget these rows, and every reference to them, as if they had never been used."""

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the scores of all items for the users of ``context`` now: ``[R, num_items]`` float32."""

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]`` float32."""

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Learn all events of ``step``; return False when a step was left out because it was not finite.

        Args:
            known: ``[num_items]`` bool, items that some event has been evidence for, this step included.
        """

    def state(self) -> State:
        """Return a copy of everything learned, of the rows in use alone."""

    def load(self, state: State) -> None:
        """Take over what ``state`` returned; from now on everything is bit for bit as it was there.

        This scorer has just been made with the same settings, and grown to as many users and items.

        Raises:
            StateError: it was made with other settings, or is of other numbers of rows; this scorer is of no more use.
        """

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity; tables stay on their device."""

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries of what can grow, by name."""
