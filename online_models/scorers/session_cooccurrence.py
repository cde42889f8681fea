"""What is taken together: item neighbours within sessions, asked for the running one."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.scorers.cooccurrence import Cooccurrence
from online_models.users.history import Context, SubStep

__all__ = ["SESSION_GAP_MS", "Baskets"]

SESSION_GAP_MS = 30 * 60 * 1000
"""A session ends where nothing came for longer, as in web analytics."""


class Baskets(Cooccurrence):
    """Counts the pairs of a session alone, and is asked by the items of the running one, each worth the same.

    Cosines are raised to the power of 1.5 before they are added up, so that one strong neighbour counts for more than
    many weak ones.

    Source: the locality of Aiolli, RecSys 2013, doi:10.1145/2507157.2507189, there as the exponent q.
    """

    smoothing = 0.03

    def _sources(self, context: Context) -> Tensor:
        rows = context.item_rows[:, : self.config.num_recent]
        return torch.from_numpy(np.where(_in_session(context, rows.shape[1]), rows, NO_ROW)).to(self.counts.device)

    def _earlier(self, step: SubStep) -> Tensor:
        begins = _gaps_ms(step.batch.times_ms, step.context.times_ms[:, 0]) > SESSION_GAP_MS
        return self._sources(step.context).masked_fill_(
            torch.from_numpy(begins).to(self.counts.device)[:, None], NO_ROW
        )

    def _recall(self, sources: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        lists, columns, neighbours, evidence = super()._recall(sources)
        return lists, columns, neighbours, _local(evidence)

    def _target_worth(self, num_items: int) -> Tensor:
        return _local(super()._target_worth(num_items))


def _in_session(context: Context, length: int) -> npt.NDArray[np.bool_]:
    """Return which of the newest ``length`` events are of the session of the newest, ``[R, length]``."""
    times_ms = context.times_ms[:, :length]
    follows = context.item_rows[:, :length] != NO_ROW
    follows[:, 1:] &= _gaps_ms(times_ms[:, :-1], times_ms[:, 1:]) <= SESSION_GAP_MS
    return np.logical_and.accumulate(follows, axis=1)


def _gaps_ms(later_ms: npt.NDArray[np.int64], earlier_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    # As floats: the difference of the ends of time is beyond int64.
    return later_ms.astype(np.float64) - earlier_ms


def _local(values: Tensor) -> Tensor:
    return values.mul_(values.sqrt())
