"""What a user took lately, for domains where people come back to the same items."""

import math

import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.config import RecencyConfig
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Cells, Scores, constant
from online_models.users.history import Context, SubStep

__all__ = ["Recency"]

_SMOOTHING = 0.01
"""What every item is taken to have: one that is not in the history is unlikely, not impossible."""


class Recency(Scorer):
    """Scores the items of the history by how recent and how frequent they are there; learns nothing.

    Where owned items are never listed, these scores are equal for all that is left and change nothing. The histories
    belong to the learner, so nothing is remembered here.
    """

    def __init__(self, config: RecencyConfig, history_length: int, device: torch.device) -> None:
        super().__init__(device)
        powers = config.position_decay ** torch.arange(history_length, dtype=torch.float32)
        self.position_weights = powers.to(device)

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logarithm of the decayed count of each item in the history."""
        rows = self.to(context.item_rows)
        queries, places = torch.nonzero(rows != NO_ROW, as_tuple=True)
        counts = Cells.summed(queries, rows[queries, places], self.position_weights[places], candidates.num_items)
        cells = counts.mapped(lambda _, worth: worth.add(_SMOOTHING).log_())
        shared = constant(math.log(_SMOOTHING), candidates.num_items, self.device)
        return Scores(len(rows), shared, cells)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Return True: there is nothing to learn."""
        return True
