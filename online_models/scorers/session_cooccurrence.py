"""What is taken together: item neighbours within sessions, asked for the running one."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.scorers.item_neighbours import norms
from online_models.users.history import Context, SubStep

__all__ = ["SESSION_GAP_MS", "SessionCooccurrence"]

Int64 = npt.NDArray[np.int64]
SESSION_GAP_MS = 30 * 60 * 1000
"""A session ends where nothing came for longer, as in web analytics."""


class SessionCooccurrence:
    """Policy of ``ItemNeighbours``: the pairs of a session alone, asked by the items of the running one.

    Each of these is worth the same. Cosines are raised to the power of 1.5 before they are added up, so that one strong
    neighbour counts for more than many weak ones.

    Source: the locality of Aiolli, RecSys 2013, doi:10.1145/2507157.2507189, there as the exponent q.
    """

    smoothing = 0.03
    inherits = False  # as in ``Cooccurrence``
    is_symmetric = True
    evidence_decay = 1.0

    def sources(self, items: Int64, context: Context) -> Int64:
        """Return the items of the running session among the newest, ``[R, N]``."""
        return np.where(_in_session(context, items.shape[1]), items, NO_ROW)

    def earlier(self, sources: Int64, step: SubStep) -> Int64:
        """Return the sources of events that continue the session, ``[B, N]``."""
        begins = _gaps_ms(step.batch.times_ms, step.context.times_ms[:, 0]) > SESSION_GAP_MS
        return np.where(begins[:, None], NO_ROW, sources)

    def source_worth(self, counts: Tensor) -> Tensor:
        """Return one over the norm of each source, ``[n]``."""
        return norms(counts)

    def target_worth(self, counts: Tensor) -> Tensor:
        """Return what makes a cosine to the power of 1.5 of sharpened evidence, ``[I]``."""
        return self.sharpened(norms(counts))

    def sharpened(self, evidence: Tensor) -> Tensor:
        """Return the evidence to the power of 1.5, in place."""
        return evidence.mul_(evidence.sqrt())


def _in_session(context: Context, length: int) -> npt.NDArray[np.bool_]:
    """Return which of the newest ``length`` events are of the session of the newest, ``[R, length]``."""
    times_ms = context.times_ms[:, :length]
    follows = context.item_rows[:, :length] != NO_ROW
    follows[:, 1:] &= _gaps_ms(times_ms[:, :-1], times_ms[:, 1:]) <= SESSION_GAP_MS
    return np.logical_and.accumulate(follows, axis=1)


def _gaps_ms(later_ms: Int64, earlier_ms: Int64) -> npt.NDArray[np.float64]:
    # As floats: the difference of the ends of time is beyond int64.
    return later_ms.astype(np.float64) - earlier_ms
