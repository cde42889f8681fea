"""What everybody takes at the moment: counts that fade with the number of events."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.config import PopularityConfig
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Scores
from online_models.tables.decay import DecayingScale
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

__all__ = ["Popularity"]

Int64 = npt.NDArray[np.int64]
_SMOOTHING = 0.05
"""Added to every count before the logarithm: an item nobody took lately is unlikely, not impossible."""


class Popularity(Scorer):
    """One decayed count per item; evidence against an item is subtracted, down to 0."""

    def __init__(self, config: PopularityConfig, device: torch.device) -> None:
        super().__init__(device)
        self.scale = self.part("scale", DecayingScale(config.half_life_events))
        self.counts = self.tensor("counts", Rows(Axis.ITEMS))

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logarithm of the decayed counts, the same for everybody."""
        row = torch.log(self.counts[: candidates.num_items] / self.scale.value + _SMOOTHING)
        return Scores(len(context.user_rows), shared=row)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Count every event with its weight."""
        rows, weights = self.to(step.batch.item_rows), self.to(step.batch.weights)
        self.counts.index_add_(0, rows, weights * self.scale.value)
        self.counts[rows] = self.counts[rows].clamp_(min=0.0)
        divisor = self.scale.advance(len(step.batch))
        if divisor != 1.0:
            self.counts.div_(divisor)
        return True

    def shares(self, item_rows: Int64) -> npt.NDArray[np.float64]:
        """Return the share of each item in all decayed counts, in 0..1, above 0, in the shape of ``item_rows``."""
        counts = self.counts[self.to(item_rows)].double() / self.scale.value
        total = self.counts.double().sum() / self.scale.value + _SMOOTHING * max(1, self.num_items)
        shares: npt.NDArray[np.float64] = ((counts + _SMOOTHING) / total).cpu().numpy()
        return shares
