"""What alike users took: the newest items of those who lately took the same items."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW, Batch
from online_models.config import NeighboursConfig
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Cells, Scores, constant
from online_models.tables.growing import count_up
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

__all__ = ["UserNeighbours"]

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
_SMOOTHING = 0.05
"""Votes that every item is taken to have: one that no neighbour took is unlikely, not impossible."""
_PLACE_BITS = 6
"""A place in a history, below 2**6, beside a user row in one number, so that one sort orders both."""


class UserNeighbours(Scorer):
    """Every item remembers its newest users, every user his newest items; the nearest users vote for theirs.

    Users are near who share many items with the newest of the history; items count less the older they are there.
    A vote is worth the nearness times the worth of the newest item in common, and more for a rare item.

    Source: V-SkNN, Ludewig and Jannach, UMUAI 2018, arXiv:1803.09587, here with a bounded memory per item and user that
    every event updates.
    """

    def __init__(self, config: NeighboursConfig, history_length: int, device: torch.device) -> None:
        super().__init__(device)
        self.config = config
        users = Rows(Axis.ITEMS, fill=NO_ROW, refers_to=Axis.USERS)
        items = Rows(Axis.USERS, fill=NO_ROW, refers_to=Axis.ITEMS)
        self.users = self.array("users", users, (config.users_per_item,), np.int32)
        self.items = self.array("items", items, (min(config.items_per_user, history_length),), np.int32)
        # Users ever written; the next place is this modulo users_per_item.
        self.totals = self.array("totals", Rows(Axis.ITEMS), (), np.int64)
        self.counts = self.array("counts", Rows(Axis.ITEMS), (), np.int64)  # events for the item
        self.against = self.array("against", Rows(Axis.ITEMS), (), np.int64)  # events against it
        self.num_events = self.counter("num_events")

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logarithm of the votes for each item."""
        nearest, nearness = self._nearest(context)
        taken = self.to(self.items[nearest].astype(np.int64))  # [R, n, items_per_user]
        votes = self.to(nearness)[:, :, None] * (taken != NO_ROW)
        num_items = candidates.num_items
        if candidates.is_table_cheaper(self.config.num_nearest * self.items.shape[1]):
            table = torch.zeros((len(nearest), num_items), device=self.device)
            table.scatter_add_(1, taken.clamp_(min=0).flatten(1), votes.flatten(1))
            worth = self._worth(torch.arange(num_items, device=self.device))
            return Scores(len(nearest), dense=table.mul_(worth).add_(_SMOOTHING).log_())
        queries, at, places = torch.nonzero(votes, as_tuple=True)
        items, votes = taken[queries, at, places], votes[queries, at, places]
        cells = Cells.summed(queries, items, votes, num_items)
        cells = cells.mapped(lambda items, votes: (self._worth(items) * votes).add_(_SMOOTHING).log_())
        return Scores(len(nearest), constant(math.log(_SMOOTHING), num_items, self.device), cells)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Write each event's user to its item, once per stay in his newest items, and keep the newest items of all."""
        batch = step.batch
        width = self.items.shape[1]
        window = step.context.item_rows[:, :width]
        is_for = batch.weights > 0
        is_new = is_for & ~(window == batch.item_rows[:, None]).any(axis=1)
        self._write(batch, np.flatnonzero(is_new))
        np.add.at(self.counts, batch.item_rows[is_for], 1)
        np.add.at(self.against, batch.item_rows[batch.weights < 0], 1)
        self.num_events += int(is_for.sum())
        self.items[step.after.user_rows] = step.after.item_rows[:, :width]
        return True

    def _worth(self, items: Tensor) -> Tensor:
        """Return what a vote for these items is worth: more for a rare one, less the more events were against it."""
        rows = items.cpu().numpy()
        counts = self.counts[rows] + 1.0
        rarity = np.log((self.num_events + 1.0) / counts) + 1.0
        return self.to((rarity * counts / (counts + self.against[rows])).astype(np.float32))

    def _write(self, batch: Batch, events: Int64) -> None:
        items, users = batch.item_rows[events], batch.user_rows[events]
        order = np.argsort(items, kind="stable")
        different, counts = np.unique(items, return_counts=True)
        places = (self.totals[items[order]] + count_up(counts)) % self.config.users_per_item
        self.users[items[order], places] = users[order]  # of equal places the last stays
        self.totals[different] += counts

    def _nearest(self, context: Context) -> tuple[Int64, npt.NDArray[np.float32]]:
        """Return the nearest users of each question ``[R, n]`` int64 and how near, 0 where there are fewer."""
        keys, num_sources = self._met(context)
        users, places = keys >> _PLACE_BITS, keys & ((1 << _PLACE_BITS) - 1)
        worth = np.where(keys >= 0, 1.0 - places / (num_sources[:, None] + 1.0), 0.0)
        # Sorted, each user is one run, which begins with the newest item in common.
        begins = np.ones(keys.shape, np.bool_)
        begins[:, 1:] = users[:, 1:] != users[:, :-1]
        first = np.flatnonzero(begins)
        sums = np.add.reduceat(worth.ravel(), first) if keys.size else np.empty(0)
        nearness = np.zeros(keys.shape, np.float32)
        nearness.ravel()[first] = sums * worth.ravel()[first]
        size = min(self.config.num_nearest, keys.shape[1])
        best, at = torch.from_numpy(nearness).topk(size, dim=1)
        nearest: Int64 = np.take_along_axis(users, at.numpy(), 1).clip(min=0)
        return nearest, best.numpy()

    def _met(self, context: Context) -> tuple[Int64, Int64]:
        """Return sorted keys of (user, place in the history) for all who took one of the newest items, -1 for none."""
        sources = context.item_rows[:, : self.config.num_recent]
        is_first = (sources != NO_ROW) & ~_is_repeated(sources)
        users = self.users[np.where(is_first, sources, 0)]  # [R, n, users_per_item]
        places = np.cumsum(is_first, axis=1) - 1
        is_met = is_first[:, :, None] & (users != NO_ROW) & (users != context.user_rows[:, None, None])
        keys = np.where(is_met, (users.astype(np.int64) << _PLACE_BITS) | places[:, :, None], -1)
        keys = keys.reshape(len(sources), -1)
        keys.sort(axis=1)
        return keys, is_first.sum(axis=1)


def _is_repeated(items: Int64) -> Bool:
    """Return where a newer place of the same row holds the same item: ``[R, n]``."""
    equal = items[:, :, None] == items[:, None, :]
    repeated: Bool = (equal & np.tri(items.shape[1], k=-1, dtype=np.bool_)).any(axis=2)
    return repeated
