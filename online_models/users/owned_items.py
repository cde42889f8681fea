"""What every user already has, so that it is not recommended again.

One pool of item rows, a segment per user that doubles when it is full: memory follows what is owned
and not users times items.
"""

from array import array

import numpy as np
import numpy.typing as npt

from online_models.batch import NO_ROW
from online_models.errors import StateError
from online_models.tables.growing import allocated_rows, count_up, grow_array
from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State
from online_models.tables.table_set import Axis, Rows, TableSet

__all__ = ["OwnedItems"]

Int64 = npt.NDArray[np.int64]
_FIRST_SEGMENT = 4


class OwnedItems(TableSet):
    """The items each user owns, at most ``capacity`` of them: beyond that the oldest is forgotten."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.constant("capacity", capacity)
        self.pool = np.full(4096, NO_ROW, np.int32)
        self.num_pooled = 0
        self.starts = self.array("starts", Rows(Axis.USERS), (), np.int64)
        self.segments = self.array("segments", Rows(Axis.USERS), (), np.int64)  # places of the user's segment
        # Items ever added; the write position is this modulo capacity.
        self.totals = self.array("totals", Rows(Axis.USERS), (), np.int64)
        # Segment length -> starts of segments given back, the newest last; packed, so that a copy costs no loop.
        self.free: dict[int, array[int]] = {}

    def pairs(self, user_rows: Int64) -> tuple[Int64, Int64]:
        """Return every owned item of every user asked for.

        Args:
            user_rows: ``[R]`` int64.

        Returns:
            ``places`` ``[n]`` int64, positions in ``user_rows``, and ``item_rows`` ``[n]`` int64.
        """
        lengths = np.minimum(self.totals[user_rows], self.capacity)
        places = np.repeat(np.arange(len(user_rows)), lengths)
        item_rows = self.pool[self.starts[user_rows][places] + count_up(lengths)].astype(np.int64)
        real = item_rows != NO_ROW
        return places[real], item_rows[real]

    def add(self, user_rows: Int64, item_rows: Int64) -> None:
        """Add pairs ``[n]`` in stream order that are not owned yet and differ from one another."""
        if not len(user_rows):
            return
        users, counts = np.unique(user_rows, return_counts=True)
        needed = np.minimum(self.totals[users] + counts, self.capacity)
        for user, length in zip(
            users[needed > self.segments[users]], needed[needed > self.segments[users]], strict=True
        ):
            self._move(int(user), int(length))  # amortised: a segment at least doubles
        order = np.argsort(user_rows, kind="stable")
        ordered = user_rows[order]
        self.pool[self.starts[ordered] + (self.totals[ordered] + count_up(counts)) % self.capacity] = item_rows[order]
        self.totals[users] += counts

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget everything these users own, and these items wherever they are owned."""
        for user in user_rows[self.segments[user_rows] > 0]:
            self._give_back(int(user))
        self.totals[user_rows] = 0
        if len(item_rows):
            used = self.pool[: self.num_pooled]
            used[np.isin(used, item_rows)] = NO_ROW

    def state(self) -> State:
        """Return a copy of what everybody owns, and of where it lies: new segments are taken from there."""
        free = {length: starts for length, starts in sorted(self.free.items()) if starts}
        none = np.empty(0, np.int64)
        return {
            **super().state(),
            "pool": self.pool[: self.num_pooled].copy(),
            "free_lengths": np.concatenate([none, *(np.full(len(starts), n, np.int64) for n, starts in free.items())]),
            "free_starts": np.concatenate([none, *(np.array(starts, np.int64) for starts in free.values())]),
        }

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and the same capacity; raises StateError when it does not fit."""
        parts = StateReader(state, [*self.names(), "pool", "free_lengths", "free_starts"])
        self.read(parts)
        pool = parts.array("pool", np.int32, (None,))
        self.num_pooled = len(pool)
        self.pool = grow_array(pool, allocated_rows(len(pool), len(self.pool)), NO_ROW)
        lengths = parts.array("free_lengths", np.int64, (None,))
        starts = parts.array("free_starts", np.int64, lengths.shape)
        if ((self.starts + self.segments).max(initial=0) > len(pool)) or (
            (starts + lengths).max(initial=0) > len(pool)
        ):
            raise StateError(f"pool: expected to hold every segment, got {len(pool)} places")
        self.free = {n: array("q", starts[lengths == n].tobytes()) for n in np.unique(lengths).tolist()}

    def _move(self, user: int, needed: int) -> None:
        length = max(_FIRST_SEGMENT, int(self.segments[user]))
        while length < needed:
            length *= 2
        start = self._take(length)
        kept = min(int(self.totals[user]), self.capacity)
        self.pool[start : start + kept] = self.pool[self.starts[user] : self.starts[user] + kept]
        if self.segments[user]:
            self._give_back(user)
        self.starts[user], self.segments[user] = start, length

    def _take(self, length: int) -> int:
        if self.free.get(length):
            return self.free[length].pop()
        start = self.num_pooled
        self.num_pooled += length
        if self.num_pooled > len(self.pool):
            self.pool = grow_array(self.pool, allocated_rows(self.num_pooled, len(self.pool)), NO_ROW)
        return start

    def _give_back(self, user: int) -> None:
        start, length = int(self.starts[user]), int(self.segments[user])
        self.pool[start : start + length] = NO_ROW
        self.free.setdefault(length, array("q")).append(start)
        self.segments[user] = 0
