"""Which id owns which row: exact maps with a limit, for the caller that turns ids into rows.

The learner never sees these: it knows rows, and is told in the batch which rows changed owner.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from online_models.errors import CapacityError, ConfigError, StateError
from online_models.tables.growing import allocated_rows, grow_array
from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State

__all__ = ["IdIndex", "PartitionedIndex"]

Int64 = npt.NDArray[np.int64]

_SMALL = 4_096
_BLOCKS = 64
"""Of more than 4,096 ids this share leaves at once. Forgetting rows costs whoever holds tables a look through all of
them, however many rows they are: 0.2 s with 70,000 items, so 0.2 ms for each of a block."""
_MOST_EXPIRED_RATIO = 0.25
"""More do not expire at once, also when the time has leapt: that bounds the work of one batch."""


class IdIndex:
    """Ids and rows, one to one; when full, the ids not seen for longest give their rows away.

    Rows are dense: the first id gets row 0, the next new one row 1, up to ``capacity - 1``. A row that is given back is
    the first to be given out again. Of more than 4,096 ids a 64th leaves at once, of fewer as many as must.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ConfigError(f"index.capacity: expected >= 1, got {capacity}")
        self._capacity = capacity
        # Least recently seen first: a dict keeps the order of insertion. An OrderedDict would too, but takes seconds to
        # copy the order of a million ids.
        self._row_of: dict[str, int] = {}
        self._id_of: list[str] = []  # anything where nobody owns the row
        self._free: list[int] = []  # rows given back, the newest last
        self._seen_ms = np.zeros(0, np.int64)  # per row: when its owner was seen; never falls in the order of recency
        self.num_evictions = 0
        """Ids that have left for newer ones."""
        self.num_expiries = 0
        """Ids that have left because nothing was seen of them for long."""

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def capacity(self) -> int:
        """Most ids held at once."""
        return self._capacity

    def get(self, id: str) -> int | None:
        """Return the row of ``id``, or None; the id does not count as seen."""
        return self._row_of.get(id)

    def id_of(self, row: int) -> str:
        """Return the id that owns ``row``.

        Raises:
            IndexError: no id owns the row.
        """
        if not 0 <= row < len(self._id_of):
            raise IndexError(f"index: expected a row in 0..{len(self._id_of) - 1}, got {row}")
        id = self._id_of[row]
        if self._row_of.get(id) != row:
            raise IndexError(f"index: expected a row that an id owns, got {row}, which was given back")
        return id

    def check_room(self, ids: Sequence[str]) -> dict[str, None]:
        """Return the different ids in order; changes nothing.

        Raises:
            CapacityError: there are more than the index may hold.
        """
        distinct = dict.fromkeys(ids)
        if len(distinct) > self._capacity:
            raise CapacityError(f"index: expected at most {self._capacity} different ids, got {len(distinct)}")
        return distinct

    def rows_for(self, ids: Sequence[str], now_ms: int = 0) -> tuple[Int64, Int64]:
        """Return the row of every id, giving rows to new ones; all of them now count as just seen.

        Args:
            ids: n ids, repeats allowed.
            now_ms: the time of this; not before that of any call before.

        Returns:
            ``rows`` ``[n]`` int64, and the rows whose owner had to leave ``[*]`` int64, with a new one or none.

        Raises:
            CapacityError: more different ids than the index may hold; nothing has changed.
        """
        distinct = self.check_room(ids)
        # Known ids are marked seen before any row is given away, so that no id of this very
        # batch can be the one to go.
        new = [id for id in distinct if not self._mark_seen(id)]
        evicted = self._make_room(len(new), len(distinct) - len(new))
        self._insert(new)
        rows = np.fromiter((self._row_of[id] for id in ids), np.int64, len(ids))
        self._seen_ms[rows] = now_ms
        return rows, np.array(evicted, np.int64)

    def expire(self, before_ms: int, floor: int = 0) -> Int64:
        """Take their rows from ids that were not seen since ``before_ms``, those not seen for longest first.

        Of more than 4,096 ids none leaves before a 64th is due. A quarter or 1,024 leave at most, the others with the
        next calls, and ``floor`` ids always stay.

        Returns:
            the rows that nobody owns any more ``[*]`` int64.
        """
        most = min(max(int(len(self) * _MOST_EXPIRED_RATIO), 1_024), len(self) - floor)
        least = min(self._block(), most)
        # One look, at the last of so many: to look at all of them would cost each batch milliseconds.
        if least < 1 or self._seen_ms[next(islice(self._row_of.values(), least - 1, None))] >= before_ms:
            return np.empty(0, np.int64)
        due: list[str] = []
        for id in islice(self._row_of, most):
            if self._seen_ms[self._row_of[id]] >= before_ms:
                break
            due.append(id)
        rows = self._release(due)
        self.num_expiries += len(rows)
        return np.array(rows, np.int64)

    def state(self) -> State:
        """Return a copy: ids by row, the rows from the least to the most recently seen, and those that nobody owns."""
        return {
            "capacity": self._capacity,
            "ids": self._id_of.copy(),
            "order": np.fromiter(self._row_of.values(), np.int64, len(self._row_of)),
            "free": np.array(self._free, np.int64),
            "seen_ms": self._seen_ms[: len(self._id_of)].copy(),
            "num_evictions": self.num_evictions,
            "num_expiries": self.num_expiries,
        }

    def load(self, state: State) -> None:
        """Take ``state`` over in place of what is held.

        Raises:
            StateError: it is of another capacity, which decides who is evicted, or of no index; nothing has changed.
        """
        parts = StateReader(state, ["capacity", "ids", "order", "free", "seen_ms", "num_evictions", "num_expiries"])
        parts.expect("capacity", self._capacity)
        num_evictions, num_expiries = parts.count("num_evictions"), parts.count("num_expiries")
        ids = parts.texts("ids")
        if len(ids) > self._capacity:
            raise StateError(f"ids: expected at most {self._capacity}, got {len(ids)}")
        free, seen_ms = parts.array("free", np.int64, (None,)), parts.array("seen_ms", np.int64, (len(ids),))
        order = parts.array("order", np.int64, (max(len(ids) - len(free), 0),))
        if not np.array_equal(np.sort(np.concatenate([order, free])), np.arange(len(ids))):
            raise StateError(f"order: expected each of {len(ids)} rows once, there or in free, got others")
        row_of = {ids[row]: row for row in order.tolist()}
        if len(row_of) < len(order):
            raise StateError(f"ids: expected {len(order)} different ones, got {len(row_of)}")
        self._row_of, self._id_of, self._free, self._seen_ms = row_of, ids, free.tolist(), seen_ms.copy()
        self.num_evictions, self.num_expiries = num_evictions, num_expiries

    def _block(self) -> int:
        """Return how many ids leave at once."""
        return len(self) // _BLOCKS if len(self) > _SMALL else 1

    def _mark_seen(self, id: str) -> bool:
        row = self._row_of.pop(id, None)
        if row is None:
            return False
        self._row_of[id] = row
        return True

    def _make_room(self, num_new: int, num_known: int) -> list[int]:
        """Have ids leave until so many new ones fit; return their rows. The ``num_known`` just seen stay."""
        num_missing = num_new - (self._capacity - len(self))
        if num_missing <= 0:
            return []
        num_leaving = min(max(num_missing, self._block()), len(self) - num_known)
        # All that leave are found in one go: each look at the front passes over what was taken out there before.
        evicted = self._release(list(islice(self._row_of, num_leaving)))
        self.num_evictions += len(evicted)
        return evicted

    def _release(self, ids: list[str]) -> list[int]:
        """Take their rows from ``ids``; return them. The first of them is the next to be given out."""
        rows = [self._row_of.pop(id) for id in ids]
        for row in rows:
            self._id_of[row] = ""
        self._free.extend(reversed(rows))
        return rows

    def _insert(self, ids: list[str]) -> None:
        """Give rows to ids that have none: such as were given back, then such as were never used."""
        for id in ids:  # by dictionary and list: 0.3 us each, against 0.2 ms that an event costs the model
            row = self._free.pop() if self._free else len(self._id_of)
            if row == len(self._id_of):
                self._id_of.append(id)
            self._row_of[id], self._id_of[row] = row, id
        if len(self._id_of) > len(self._seen_ms):
            size = min(allocated_rows(len(self._id_of), len(self._seen_ms)), self._capacity)
            self._seen_ms = grow_array(self._seen_ms, size, 0)


class PartitionedIndex:
    """One index per partition under common row numbers: ``row = local row * P + partition``.

    So ``row % P`` is the partition, and what belongs to partition p in a table is ``table[p::P]``.
    """

    def __init__(self, num_partitions: int, capacity: int) -> None:
        """Make ``num_partitions`` indexes that together hold at most ``capacity`` ids."""
        if num_partitions < 1:
            raise ConfigError(f"index.num_partitions: expected >= 1, got {num_partitions}")
        if capacity < num_partitions:
            raise ConfigError(f"index.capacity: expected >= {num_partitions} (one a partition), got {capacity}")
        self._parts = [IdIndex(capacity // num_partitions) for _ in range(num_partitions)]

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def num_evictions(self) -> int:
        """How many ids have left for newer ones since the start."""
        return sum(part.num_evictions for part in self._parts)

    @property
    def num_partitions(self) -> int:
        """How many indexes there are."""
        return len(self._parts)

    @property
    def num_expiries(self) -> int:
        """How many ids have left since the start because nothing was seen of them for long."""
        return sum(part.num_expiries for part in self._parts)

    def partition(self, partition: int) -> IdIndex:
        """Return the index of one partition, in local rows."""
        return self._parts[partition]

    def get(self, partition: int, id: str) -> int | None:
        """Return the row of ``id`` in ``partition``, or None; the id does not count as seen."""
        local = self._parts[partition].get(id)
        return None if local is None else local * len(self._parts) + partition

    def id_of(self, row: int) -> str:
        """Return the id that owns ``row``; raises IndexError when none does."""
        return self._parts[row % len(self._parts)].id_of(row // len(self._parts))

    def rows_for(self, partitions: Sequence[int], ids: Sequence[str], now_ms: int = 0) -> tuple[Int64, Int64]:
        """Return the row of every id of its partition, and the rows whose owner had to leave, as ``IdIndex`` does."""
        if len(partitions) != len(ids):
            raise ValueError(f"index.rows_for: expected {len(ids)} partitions, got {len(partitions)}")
        places: dict[int, list[int]] = {}
        for place, partition in enumerate(partitions):
            places.setdefault(partition, []).append(place)
        for partition, at in places.items():  # all are checked before the first is changed
            self._parts[partition].check_room([ids[place] for place in at])
        rows = np.empty(len(ids), np.int64)
        evicted = [np.empty(0, np.int64)]
        for partition, at in sorted(places.items()):
            local, gone = self._parts[partition].rows_for([ids[place] for place in at], now_ms)
            rows[at] = local * len(self._parts) + partition
            evicted.append(gone * len(self._parts) + partition)
        return rows, np.concatenate(evicted)

    def expire(self, before_ms: int) -> Int64:
        """Return the rows of ids of all partitions that were not seen since ``before_ms``, as ``IdIndex`` does."""
        gone = [part.expire(before_ms) * len(self._parts) + number for number, part in enumerate(self._parts)]
        return np.concatenate(gone)

    def state(self) -> State:
        """Return a copy: the state of each partition's index under its number."""
        parts = {str(number): part.state() for number, part in enumerate(self._parts)}
        return {"num_partitions": len(self._parts), **parts}

    def load(self, state: State) -> None:
        """Take ``state`` over in place of what is held.

        Raises:
            StateError: it is of another number of partitions, of other capacities, or of no index.
        """
        if "num_partitions" in state:  # said first: that partitions are missing would be the lesser half of it
            StateReader({"num_partitions": state["num_partitions"]}, ["num_partitions"]).expect(
                "num_partitions", len(self._parts)
            )
        numbers = [str(number) for number in range(len(self._parts))]
        parts = StateReader(state, ["num_partitions", *numbers])
        for number, part in zip(numbers, self._parts, strict=True):
            parts.give(number, part)
