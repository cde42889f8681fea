"""Where the item that really came stood in a ranking of the whole catalogue."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW

__all__ = ["Evaluated", "StepReport", "join_evaluated", "mid_ranks", "misses"]

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """How E events were ranked by the model and the baselines before they were learned."""

    events: Int64
    """``[E]`` int64 indices into the batch."""
    loss_nats: Float64
    """``[E]`` float64, finite: minus the log of the model's probability of the item; of a uniform guess over
    one item more than are known where the item was never seen before, or where the model gave no number."""
    ranks: dict[str, Float64]
    """Of "model", "transitions" and "popularity", ``[E]`` float64: 1-based, the middle of equal scores,
    infinite where the item was never seen before."""
    top_rows: dict[str, Int64]
    """Of the same names, ``[E, K]`` int64: what would have been listed, ``NO_ROW`` where shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one call of ``step`` did."""

    num_events: int
    num_learned: int
    """Events with a weight other than 0 whose item has a row."""
    num_late: int
    """Events older than the newest of their user."""
    num_repeats: int
    """Positive events of items their user has already: they cannot be listed, so they are not evaluated."""
    num_evaluated: int
    num_nonfinite_steps: int
    """Updates left out because a loss or a gradient was not finite. More than 0 is worth an alarm."""
    num_items_known: int
    """Catalogue size: items with a positive event so far."""
    evaluated: Int64
    """``[E]`` int64 indices into the batch."""
    loss_nats: Float64
    """See ``Evaluated``."""
    ranks: dict[str, Float64]
    """See ``Evaluated``."""
    top_rows: dict[str, Int64]
    """See ``Evaluated``."""
    evaluate_seconds: float
    """Until every event was evaluated; on the CPU learning has begun meanwhile."""
    learn_seconds: float
    """From then until all was learned."""


def mid_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the rank of each target among what may be listed, ties in the middle.

    Args:
        scores: ``[E, I]`` float32, minus infinity for what may not be listed.
        targets: ``[E]`` int64.

    Returns:
        ``[E]`` float64: 1 + how many score higher + half of how many others score the same. Infinite where the
        target's score is no number: a broken model must not look like a perfect one.
    """
    own = scores.gather(1, targets[:, None])
    # How many score higher less how many score lower, in one table: exact in float32 up to 16 million items.
    more = (scores - own).sign_().nan_to_num_(nan=-1.0).sum(1)
    ranks = 1.0 + (scores.shape[1] - 1 + more.double()) / 2.0
    return ranks.masked_fill_(~torch.isfinite(own[:, 0]), torch.inf)


def misses(events: Int64, num_known: int, names: tuple[str, ...], k: int) -> Evaluated:
    """Return ``events`` ``[E]`` as ranked by nobody: no list could have held their items, and none counts as made."""
    return Evaluated(
        events=events,
        loss_nats=np.full(len(events), np.log(num_known + 1.0)),
        ranks={name: np.full(len(events), np.inf) for name in names},
        top_rows={name: np.full((len(events), k), NO_ROW, np.int64) for name in names},
    )


def join_evaluated(parts: list[Evaluated], names: tuple[str, ...], k: int) -> Evaluated:
    """Return the parts of a batch as one, in the order of the events."""
    floats, rows = np.empty(0, np.float64), np.empty((0, k), np.int64)
    events = np.concatenate([np.empty(0, np.int64), *(part.events for part in parts)])
    order = np.argsort(events, kind="stable")
    return Evaluated(
        events=events[order],
        loss_nats=np.concatenate([floats, *(part.loss_nats for part in parts)])[order],
        ranks={name: np.concatenate([floats, *(part.ranks[name] for part in parts)])[order] for name in names},
        top_rows={name: np.concatenate([rows, *(part.top_rows[name] for part in parts)])[order] for name in names},
    )
