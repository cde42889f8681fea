"""What comes near what, whichever came first: item neighbours by cosine."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from online_models.scorers.item_neighbours import norms
from online_models.users.history import Context, SubStep

__all__ = ["Cooccurrence"]

Int64 = npt.NDArray[np.int64]


class Cooccurrence:
    """Policy of ``ItemNeighbours``: each pair of items that a history has near each other counts both ways.

    Every pair counts the same, however far apart within the newest ``num_recent``; ``position_decay`` weighs the
    history only when it is scored, by cosine.

    Source: Sarwar et al., WWW 2001; the incremental form after Vinagre, Jorge and Gama, 2015. Here with fading counts
    and a bounded memory per item.
    """

    smoothing = 0.01
    inherits = False  # divided by the norm of a rare item, what it took over would put it above all others
    is_symmetric = True
    evidence_decay = 1.0

    def sources(self, items: Int64, context: Context) -> Int64:
        """Return all of the newest items, ``[R, N]``."""
        return items

    def earlier(self, sources: Int64, step: SubStep) -> Int64:
        """Return all of the sources, ``[B, N]``."""
        return sources

    def source_worth(self, counts: Tensor) -> Tensor:
        """Return one over the norm of each source, ``[n]``."""
        return norms(counts)

    def target_worth(self, counts: Tensor) -> Tensor:
        """Return one over the norm of each target, ``[I]``."""
        return norms(counts)

    def sharpened(self, evidence: Tensor) -> Tensor:
        """Return the evidence as it is."""
        return evidence
