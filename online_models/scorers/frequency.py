"""How often each user took each item, for domains where people come back to the same items."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.config import FrequencyConfig
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates, Cells, Scores
from online_models.tables.growing import count_up
from online_models.tables.select import are_in
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

__all__ = ["Frequency"]

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
_COMMON_EVENTS = 20.0
"""Events, spread over the items as those of everybody are, that every user is taken to have had besides his own."""
_LEAST_COUNT = 0.1
"""Events of everybody that every item is taken to have had."""
_KEY_BITS = 32


class Frequency(Scorer):
    """Every user remembers a number of items in slots, each with a count that halves with his own events.

    What lies in the running basket, the items of the newest time stamp, is not taken again and scores as if it never
    was. What a user never took scores by how often everybody did.

    Source: personal frequency, Hu et al., SIGIR 2020 (TIFU-kNN), here fading and with a bounded memory per user; the
    Dirichlet prior of Zhai and Lafferty, SIGIR 2001.
    """

    def __init__(self, config: FrequencyConfig, device: torch.device) -> None:
        super().__init__(device)
        self.config = config
        slots = (config.items_per_user,)
        named = Rows(Axis.USERS, fill=NO_ROW, refers_to=Axis.ITEMS, cleared_with=("counts",))
        self.items = self.array("items", named, slots, np.int32)
        self.counts = self.array("counts", Rows(Axis.USERS), slots, np.float32)
        self.totals = self.array("totals", Rows(Axis.ITEMS), (), np.float64)  # events for each item, of everybody

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logarithm of how often each user took each item, lately and as everybody."""
        num_items = candidates.num_items
        known = np.flatnonzero(context.user_rows < self.num_users)
        users = context.user_rows[known]
        lists, slots = np.nonzero(self.items[users] != NO_ROW)
        queries, items = known[lists], self.items[users[lists], slots].astype(np.int64)
        in_basket = (context.times_ms == context.times_ms[:, :1]) & (context.item_rows != NO_ROW)
        baskets = np.nonzero(in_basket)[0] * num_items + context.item_rows[in_basket]
        kept = ~are_in(queries * num_items + items, np.sort(baskets))
        counts = self.counts[users[lists], slots][kept]
        common = self.to(self._common(num_items))
        cells = Cells.of(self.to(queries[kept]), self.to(items[kept]), self.to(counts), num_items)
        cells = cells.mapped(lambda items, counts: (counts + common[items]).log_())
        return Scores(len(context.user_rows), common.log(), cells)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Let the counts of the users of ``step`` fade by their events, then add each event's weight."""
        batch = step.batch
        used = batch.weights != 0
        np.add.at(self.totals, batch.item_rows[batch.weights > 0], 1.0)
        users, nums = np.unique(batch.user_rows[used], return_counts=True)
        self.counts[users] *= (0.5 ** (nums / self.config.half_life_events)).astype(np.float32)[:, None]
        keys, groups = np.unique(
            (batch.user_rows[used] << _KEY_BITS) | batch.item_rows[used],
            return_inverse=True,
        )
        weights = np.bincount(groups, batch.weights[used], len(keys)).astype(np.float32)
        self._add(keys >> _KEY_BITS, keys & ((1 << _KEY_BITS) - 1), weights)
        return True

    def _common(self, num_items: int) -> Float32:
        """Return the events that everybody is taken to have had of each item: ``[num_items]``."""
        totals = self.totals[:num_items] + _LEAST_COUNT
        # Not by the sum of what is returned: items that come later in a sub-step have a row already.
        common: Float32 = (totals * (_COMMON_EVENTS / (self.totals.sum() + 1.0))).astype(np.float32)
        return common

    def _add(self, users: Int64, items: Int64, weights: Float32) -> None:
        """Add to different (user, item) pairs, sorted; a new one takes the slot of the user's least count."""
        is_there = self.items[users] == items.astype(np.int32)[:, None]
        is_held, slots = is_there.any(axis=1), is_there.argmax(axis=1)
        held = users[is_held], slots[is_held]
        self.counts[held] = np.maximum(self.counts[held] + weights[is_held], 0.0)
        is_new = ~is_held & (weights > 0)
        users, items, weights = users[is_new], items[is_new], weights[is_new]
        different, groups, nums = np.unique(users, return_inverse=True, return_counts=True)
        emptiest = np.argsort(self.counts[different], axis=1, kind="stable")
        ordinals = count_up(nums)
        fits = ordinals < self.config.items_per_user
        places = users[fits], emptiest[groups[fits], ordinals[fits]]
        self.items[places], self.counts[places] = items[fits], weights[fits]
