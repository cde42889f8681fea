"""The recurrent state of every user, before his newest event."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.tables.table_set import Axis, Rows, TableSet
from online_models.users.history import Context

__all__ = ["UserStates"]

Int64 = npt.NDArray[np.int64]
_LONG_AGO = -(1 << 62)
_BLOCK_USERS = 256
"""Users whose states are made anew together: bounds the scratch memory."""


class UserStates(TableSet):
    """A row per user, moved on by one step of the network per event, however long the history is.

    One that weights of long ago made says little to those of now: whoever asks for it gets one made anew, by as many
    steps as the history holds events.
    """

    def __init__(self, width: int, longest_events: int, device: torch.device) -> None:
        super().__init__(device)
        self.longest_events = longest_events
        self.table = self.tensor("table", Rows(Axis.USERS), (width,))
        # The item that the state is before.
        self.newest_items = self.array("newest_items", Rows(Axis.USERS, fill=NO_ROW), (), np.int32)
        # Events of all users that were learned before.
        self.moved_at = self.array("moved_at", Rows(Axis.USERS, reset_to=_LONG_AGO), (), np.int64)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the states of these users, and of those whose newest item is one of these.

        The state of the latter has read the second newest item, which is now the newest: they too get one made anew.
        """
        users = np.union1d(user_rows, np.flatnonzero(np.isin(self.newest_items, item_rows)))
        super().reset(users, item_rows)

    def before_newest(self, context: Context, now: int, read_again: Callable[[Context], Tensor]) -> Tensor:
        """Return the states ``[R, H]`` of the users of ``context``, 0 for those never seen.

        Args:
            now: events of all users that were learned so far.
            read_again: makes states ``[n, H]`` from histories of two events or more.
        """
        is_new = context.user_rows >= len(self.table)
        rows = np.where(is_new, 0, context.user_rows)
        states = self.table[self.to(rows)].masked_fill(self.to(is_new)[:, None], 0.0)
        is_old = ~is_new & (now - self.moved_at[rows] > self.longest_events) & (context.lengths > 1)
        old = np.flatnonzero(is_old)
        for start in range(0, len(old), _BLOCK_USERS):
            block = old[start : start + _BLOCK_USERS]
            states[self.to(block)] = read_again(context.take(block))
        return states

    def move(self, user_rows: Int64, states: Tensor, newest_items: Int64, now: int) -> None:
        """Replace the states of these users by ``states`` ``[n, H]``, but for what is not finite in them."""
        users = self.to(user_rows)
        self.table[users] = torch.where(torch.isfinite(states), states, self.table[users])  # no poison from a bad pass
        self.newest_items[user_rows] = newest_items
        self.moved_at[user_rows] = now
