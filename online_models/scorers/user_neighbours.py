"""What alike users took: the newest items of those who lately took the same items."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW, Batch
from online_models.config import NeighboursConfig
from online_models.tables.growing import allocated_rows, count_up, grow_array
from online_models.tables.state_reader import Parts, Table, copies
from online_models.tables.state_tree import State
from online_models.users.history import Context, SubStep

__all__ = ["Neighbours"]

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
_SMOOTHING = 0.05
"""Votes that every item is taken to have: one that no neighbour took is unlikely, not impossible."""
_PLACE_BITS = 6
"""A place in a history, below 2**6, beside a user row in one number, so that one sort orders both."""


class Neighbours:
    """Every item remembers its newest users, every user his newest items; the nearest users vote for theirs.

    Users are near who share many items with the newest of the history; items count less the older they are there.
    A vote is worth the nearness times the worth of the newest item in common, and more for a rare item.

    Source: V-SkNN, Ludewig and Jannach, UMUAI 2018, arXiv:1803.09587, here with a bounded memory per item and user that
    every event updates.
    """

    def __init__(self, config: NeighboursConfig, history_length: int, device: torch.device) -> None:
        self.config = config
        self.device = device
        self.users = np.full((0, config.users_per_item), NO_ROW, np.int32)
        self.totals = np.zeros(0, np.int64)  # users ever written; the next place is this modulo users_per_item
        self.counts = np.zeros(0, np.int64)  # events for the item
        self.against = np.zeros(0, np.int64)  # events against it
        self.items = np.full((0, min(config.items_per_user, history_length)), NO_ROW, np.int32)
        self.num_events = 0
        self.num_used_users = self.num_used_items = 0

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        self.num_used_users = max(self.num_used_users, num_users)
        self.num_used_items = max(self.num_used_items, num_items)
        size = allocated_rows(num_users, len(self.items))
        if size > len(self.items):
            self.items = grow_array(self.items, size, NO_ROW)
        size = allocated_rows(num_items, len(self.users))
        if size > len(self.users):
            self.users = grow_array(self.users, size, NO_ROW)
            self.totals, self.counts = grow_array(self.totals, size, 0), grow_array(self.counts, size, 0)
            self.against = grow_array(self.against, size, 0)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget what these users took, and who took these items, wherever it is remembered."""
        self.items[user_rows] = NO_ROW
        self.users[item_rows] = NO_ROW
        self.totals[item_rows] = self.counts[item_rows] = self.against[item_rows] = 0
        for table, gone in (
            (self.users[: self.num_used_items], user_rows),
            (self.items[: self.num_used_users], item_rows),
        ):
            if len(gone):
                table[np.isin(table, gone)] = NO_ROW

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logarithm of the votes for each item: ``[R, num_items]``."""
        nearest, nearness = self._nearest(context)
        taken = torch.from_numpy(self.items[nearest].astype(np.int64)).to(self.device)  # [R, n, items_per_user]
        votes = torch.from_numpy(nearness).to(self.device)[:, :, None] * (taken != NO_ROW)
        scores = torch.zeros((len(nearest), num_items), device=self.device)
        scores.scatter_add_(1, taken.clamp_(min=0).flatten(1), votes.flatten(1))
        worth = torch.from_numpy(self._worth(num_items)).to(self.device)
        return scores.mul_(worth).add_(_SMOOTHING).log_()

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the scores just before each event of ``step``: ``[B, num_items]``."""
        return self.score(step.context, num_items)

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

    def state(self) -> State:
        """Return a copy of everything remembered."""
        return {**copies(self._tables()), "num_events": self.num_events}

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and items and the same widths; raises StateError if it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "num_events"])
        parts.fill(tables)
        self.num_events = parts.count("num_events")

    def is_finite(self) -> bool:
        """Return True: whole numbers are."""
        return True

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {
            "neighbours.users": (self.num_used_users, len(self.items)),
            "neighbours.items": (self.num_used_items, len(self.users)),
        }

    def _tables(self) -> dict[str, Table]:
        items = slice(self.num_used_items)
        return {
            "users": self.users[items],
            "totals": self.totals[items],
            "counts": self.counts[items],
            "against": self.against[items],
            "items": self.items[: self.num_used_users],
        }

    def _worth(self, num_items: int) -> npt.NDArray[np.float32]:
        """Return what a vote for each item is worth: more for a rare one, less the more events were against it."""
        counts = self.counts[:num_items] + 1.0
        rarity = np.log((self.num_events + 1.0) / counts) + 1.0
        worth: npt.NDArray[np.float32] = (rarity * counts / (counts + self.against[:num_items])).astype(np.float32)
        return worth

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
