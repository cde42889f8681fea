"""The recurrent state of every user, before his newest event."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW
from online_models.tables.growing import allocated_rows, grow_array, grow_table
from online_models.tables.state_reader import Parts, Table, are_finite, copies
from online_models.tables.state_tree import State
from online_models.users.history import Context

__all__ = ["UserStates"]

Int64 = npt.NDArray[np.int64]
_LONG_AGO = -(1 << 62)
_BLOCK_USERS = 256
"""Users whose states are made anew together: bounds the scratch memory."""


class UserStates:
    """A row per user, moved on by one step of the network per event, however long the history is.

    One that weights of long ago made says little to those of now: whoever asks for it gets one made anew, by as many
    steps as the history holds events.
    """

    def __init__(self, width: int, longest_events: int, device: torch.device) -> None:
        self.longest_events = longest_events
        self.device = device
        self.table = torch.zeros((0, width), device=device)
        self.newest_items = np.full(0, NO_ROW, np.int32)  # the item that the state is before
        self.moved_at = np.zeros(0, np.int64)  # events of all users that were learned before
        self.num_used = 0

    def grow(self, num_users: int) -> None:
        """Make room for users up to row ``num_users - 1``."""
        self.num_used = max(self.num_used, num_users)
        size = allocated_rows(num_users, len(self.table))
        if size > len(self.table):
            self.table = grow_table(self.table, size)
            self.newest_items = grow_array(self.newest_items, size, NO_ROW)
            self.moved_at = grow_array(self.moved_at, size, 0)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the states of these users, and of those whose newest item is one of these.

        The state of the latter has read the second newest item, which is now the newest: they too get one made anew.
        """
        users = np.union1d(user_rows, np.flatnonzero(np.isin(self.newest_items, item_rows)))
        self.table[self._to(users)] = 0.0
        self.newest_items[users] = NO_ROW
        self.moved_at[users] = _LONG_AGO

    def before_newest(self, context: Context, now: int, read_again: Callable[[Context], Tensor]) -> Tensor:
        """Return the states ``[R, H]`` of the users of ``context``, 0 for those never seen.

        Args:
            now: events of all users that were learned so far.
            read_again: makes states ``[n, H]`` from histories of two events or more.
        """
        is_new = context.user_rows >= len(self.table)
        rows = np.where(is_new, 0, context.user_rows)
        states = self.table[self._to(rows)].masked_fill(self._to(is_new)[:, None], 0.0)
        is_old = ~is_new & (now - self.moved_at[rows] > self.longest_events) & (context.lengths > 1)
        old = np.flatnonzero(is_old)
        for start in range(0, len(old), _BLOCK_USERS):
            block = old[start : start + _BLOCK_USERS]
            states[self._to(block)] = read_again(context.take(block))
        return states

    def move(self, user_rows: Int64, states: Tensor, newest_items: Int64, now: int) -> None:
        """Replace the states of these users by ``states`` ``[n, H]``, but for what is not finite in them."""
        users = self._to(user_rows)
        self.table[users] = torch.where(torch.isfinite(states), states, self.table[users])  # no poison from a bad pass
        self.newest_items[user_rows] = newest_items
        self.moved_at[user_rows] = now

    def state(self) -> State:
        """Return a copy of all states."""
        return copies(self._tables())

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and the same width; raises StateError if it does not fit."""
        tables = self._tables()
        Parts(state, tables).fill(tables)

    def is_finite(self) -> bool:
        """Return whether no state holds NaN or infinity."""
        return are_finite([self.table[: self.num_used]])

    def _tables(self) -> dict[str, Table]:
        tables: dict[str, Table] = {"table": self.table, "newest_items": self.newest_items, "moved_at": self.moved_at}
        return {name: table[: self.num_used] for name, table in tables.items()}

    def _to(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)
