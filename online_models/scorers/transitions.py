"""What followed what: directed pairs, from each item of a history to the items taken after it."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from online_models.config import TransitionsConfig
from online_models.users.history import Context, SubStep

__all__ = ["Transitions"]

Int64 = npt.NDArray[np.int64]


class Transitions:
    """Policy of ``ItemNeighbours``: what comes later is evidence, the more the closer it comes.

    Source: sequential rules with position decay, Ludewig and Jannach, UMUAI 2018.
    """

    smoothing = 0.01
    inherits = True
    is_symmetric = False

    def __init__(self, config: TransitionsConfig) -> None:
        self.evidence_decay = config.position_decay
        self.popularity_power = config.popularity_power

    def sources(self, items: Int64, context: Context) -> Int64:
        """Return all of the newest items, ``[R, N]``."""
        return items

    def earlier(self, sources: Int64, step: SubStep) -> Int64:
        """Return all of the sources, ``[B, N]``."""
        return sources

    def source_worth(self, counts: Tensor) -> None:
        """Return None: all sources are worth the same."""

    def target_worth(self, counts: Tensor) -> Tensor:
        """Return less for items that everybody takes anyway, ``[I]``."""
        return counts.clamp_(min=1.0).pow_(-self.popularity_power)

    def sharpened(self, evidence: Tensor) -> Tensor:
        """Return the evidence as it is."""
        return evidence
