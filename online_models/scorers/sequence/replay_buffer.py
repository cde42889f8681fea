"""A bounded log of learned events, from which past windows of single users are drawn again."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from online_models.batch import NO_ROW
from online_models.tables.growing import allocated_rows, grow_array
from online_models.tables.state_reader import StateReader, Table, are_finite, copies
from online_models.tables.state_tree import State

__all__ = ["ReplayLog", "Windows"]

Int64 = npt.NDArray[np.int64]
_COLUMNS = ("item_rows", "user_rows", "event_types", "times_ms", "weights", "previous")


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """W runs of consecutive events of one user each, oldest first."""

    item_rows: Int64
    """``[W, T]`` int64, ``NO_ROW`` after the last."""
    event_types: npt.NDArray[np.int8]
    """``[W, T]`` int8."""
    times_ms: Int64
    """``[W, T]`` int64."""
    weights: npt.NDArray[np.float32]
    """``[W, T]`` float32."""


class ReplayLog:
    """The newest ``capacity`` events that advanced a user, each linked to the user's event before."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.total = 0  # events ever written: the newest has this serial number less one
        size = min(capacity, 1024)
        self.item_rows = np.full(size, NO_ROW, np.int32)
        self.user_rows = np.full(size, NO_ROW, np.int32)
        self.event_types = np.zeros(size, np.int8)
        self.times_ms = np.zeros(size, np.int64)
        self.weights = np.zeros(size, np.float32)
        self.previous = np.full(size, NO_ROW, np.int64)  # serial number of the user's event before
        self.newest = np.full(0, NO_ROW, np.int64)  # per user: serial number of his newest event
        self.num_users = 0

    @property
    def num_held(self) -> int:
        """How many events the log holds, those that became unreadable too."""
        return min(self.total, self.capacity)

    def grow(self, num_users: int) -> None:
        """Make room for users up to row ``num_users - 1``."""
        self.num_users = max(self.num_users, num_users)
        size = allocated_rows(num_users, len(self.newest))
        if size > len(self.newest):
            self.newest = grow_array(self.newest, size, NO_ROW)

    def add(
        self,
        user_rows: Int64,
        item_rows: Int64,
        event_types: npt.NDArray[np.int8],
        times_ms: Int64,
        weights: npt.NDArray[np.float32],
    ) -> Int64:
        """Write events ``[n]``, in stream order, that advanced their users; of more than fit, the newest.

        Returns:
            item rows, one for each event that had to leave, also of those that never came in.
        """
        if not len(user_rows):
            return np.empty(0, np.int64)
        serials = self.total + np.arange(len(user_rows))
        self._make_room(int(serials[-1]) + 1)
        order = np.argsort(user_rows, kind="stable")
        ordered, ordered_serials = user_rows[order], serials[order]
        is_first = np.r_[True, ordered[1:] != ordered[:-1]]
        previous = np.empty(len(serials), np.int64)
        previous[order] = np.where(is_first, self.newest[ordered], np.r_[NO_ROW, ordered_serials[:-1]])
        self.newest[ordered] = ordered_serials  # the last write of a user wins: his newest
        self.total += len(user_rows)
        fits = slice(max(len(serials) - self.capacity, 0), None)
        slots = serials[fits] % self.capacity
        left = self.item_rows[slots].astype(np.int64)
        self.user_rows[slots], self.item_rows[slots] = user_rows[fits], item_rows[fits]
        self.event_types[slots], self.times_ms[slots] = event_types[fits], times_ms[fits]
        self.weights[slots], self.previous[slots] = weights[fits], previous[fits]
        return np.concatenate([item_rows[: fits.start], left[left != NO_ROW]])

    def draw(self, rng: np.random.Generator, num_windows: int, length: int) -> Windows:
        """Return windows that end at events drawn uniformly from the log.

        Args:
            num_windows: W.
            length: T, events in a window; shorter where the user or the log has no more.
        """
        serials = rng.integers(self._oldest(), max(self.total, 1), num_windows)
        walk = np.empty((num_windows, length), np.int64)
        for step in range(length):  # T gathers of W numbers, not a loop over events
            walk[:, length - 1 - step] = serials
            live = serials >= self._oldest()
            serials = np.where(live, self.previous[np.where(live, serials % self.capacity, 0)], NO_ROW)
        live = walk >= self._oldest()
        slots = np.where(live, walk % self.capacity, 0)
        items = np.where(live, self.item_rows[slots], NO_ROW)
        order = np.argsort(items == NO_ROW, axis=1, kind="stable")
        slots = np.take_along_axis(slots, order, 1)
        return Windows(
            item_rows=np.take_along_axis(items, order, 1).astype(np.int64),
            event_types=self.event_types[slots],
            times_ms=self.times_ms[slots],
            weights=self.weights[slots],
        )

    def reset(self, user_rows: Int64, item_rows: Int64) -> Int64:
        """Make the events of these users and these items unreadable; return the item row of each of them."""
        self.newest[user_rows] = NO_ROW
        if not len(user_rows) and not len(item_rows):
            return np.empty(0, np.int64)
        gone = np.isin(self.item_rows, item_rows) | np.isin(self.user_rows, user_rows)
        left = self.item_rows[gone].astype(np.int64)
        self.item_rows[gone] = NO_ROW
        self.user_rows[gone] = NO_ROW
        return left

    def state(self) -> State:
        """Return a copy of all events held."""
        return {**copies(self._tables()), "capacity": self.capacity, "total": self.total}

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and the same capacity; raises StateError when it does not fit."""
        parts = StateReader(state, [*self._tables(), "capacity", "total"])
        parts.expect("capacity", self.capacity)
        total = parts.count("total")
        parts.array("item_rows", np.int32, (min(total, self.capacity),))  # before room is made for them
        self._make_room(total)
        self.total = total
        parts.fill(self._tables())

    def is_finite(self) -> bool:
        """Return whether no weight is NaN or infinite."""
        return are_finite([self.weights[: self.num_held]])

    def _tables(self) -> dict[str, Table]:
        """Return the slots written to and the users, by name."""
        columns: dict[str, Table] = {name: getattr(self, name)[: self.num_held] for name in _COLUMNS}
        return {**columns, "newest": self.newest[: self.num_users]}

    def _oldest(self) -> int:
        return max(0, self.total - self.capacity)

    def _make_room(self, needed: int) -> None:
        size = min(self.capacity, allocated_rows(needed, len(self.item_rows)))
        if size > len(self.item_rows):
            for name in _COLUMNS:
                setattr(self, name, grow_array(getattr(self, name), size, NO_ROW))
