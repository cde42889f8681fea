"""How much of a user's list is new: the overlap of each published list with the one before it.

For the metrics only: it decides nothing, is not part of the state that is saved, and begins empty at every start.
"""

import numpy as np
import numpy.typing as npt

from online_models import NO_ROW

__all__ = ["PreviousLists"]

Int64 = npt.NDArray[np.int64]

MAX_CELLS = 1 << 20
"""Places of lists that are remembered, 4 bytes each: 104,857 users with ten items each are 4.6 MB."""


class PreviousLists:
    """The newest list of each user, as far as the memory goes: two users that share a slot displace each other.

    Args:
        k: K, places of a list.
        max_cells: places remembered in all.
    """

    def __init__(self, k: int, max_cells: int = MAX_CELLS) -> None:
        num_slots = max(1, max_cells // k)
        self._owners = np.full(num_slots, NO_ROW, np.int32)
        self._lists = np.full((num_slots, k), NO_ROW, np.int32)

    def forget(self, user_rows: Int64) -> None:
        """Forget the lists of rows that belong to other users now, `[U]`."""
        slots = user_rows % len(self._owners)
        self._owners[slots[self._owners[slots] == user_rows]] = NO_ROW

    def replace(self, user_rows: Int64, item_rows: Int64) -> npt.NDArray[np.float64]:
        """Remember new lists, and return how much of each was in the one before.

        Args:
            user_rows: `[R]`, each once.
            item_rows: `[R, K]`, an item once a list, `NO_ROW` where shorter.

        Returns:
            `[n]` in 0..1, of the n users whose last list is remembered, in their order; a list without items is left
            out. An item whose row was given away meanwhile counts as the item that has it now.
        """
        slots = user_rows % len(self._owners)
        known = (self._owners[slots] == user_rows) & (item_rows != NO_ROW).any(1)
        both = np.concatenate([self._lists[slots[known]], item_rows[known].astype(np.int32)], 1)
        both.sort(1)  # an item of both lists stands beside itself
        num_shared = ((both[:, 1:] == both[:, :-1]) & (both[:, 1:] != NO_ROW)).sum(1)
        overlap: npt.NDArray[np.float64] = num_shared / (item_rows[known] != NO_ROW).sum(1)
        self._owners[slots], self._lists[slots] = user_rows, item_rows
        return overlap
