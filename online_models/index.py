"""Which id owns which row: exact maps with a limit, for the caller that turns ids into rows.

The learner never sees these: it knows rows, and is told in the batch which rows changed owner.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from online_models.errors import CapacityError, ConfigError, StateError
from online_models.parts import Parts
from online_models.state import State

__all__ = ["IdIndex", "PartitionedIndex"]

Int64 = npt.NDArray[np.int64]


class IdIndex:
    """Ids and rows, one to one; when full, the id not seen for longest gives its row away.

    Rows are dense: the first id gets row 0, the next new one row 1, up to ``capacity - 1``.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ConfigError(f"index.capacity: expected >= 1, got {capacity}")
        self._capacity = capacity
        # Least recently seen first: a dict keeps the order of insertion. An OrderedDict would too, but takes seconds to
        # copy the order of a million ids.
        self._row_of: dict[str, int] = {}
        self._id_of: list[str] = []
        self.num_evictions = 0

    def __len__(self) -> int:
        return len(self._id_of)

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
        return self._id_of[row]

    def check_room(self, ids: Sequence[str]) -> dict[str, None]:
        """Return the different ids in order; changes nothing.

        Raises:
            CapacityError: there are more than the index may hold.
        """
        distinct = dict.fromkeys(ids)
        if len(distinct) > self._capacity:
            raise CapacityError(f"index: expected at most {self._capacity} different ids, got {len(distinct)}")
        return distinct

    def rows_for(self, ids: Sequence[str]) -> tuple[Int64, Int64]:
        """Return the row of every id, giving rows to new ones; all of them now count as just seen.

        Args:
            ids: n ids, repeats allowed.

        Returns:
            ``rows`` ``[n]`` int64, and the rows that changed owner for it ``[*]`` int64.

        Raises:
            CapacityError: more different ids than the index may hold; nothing has changed.
        """
        distinct = self.check_room(ids)
        # Known ids are marked seen before any row is given away, so that no id of this very
        # batch can be the one to go.
        new = [id for id in distinct if not self._mark_seen(id)]
        evicted = self._insert(new)
        rows = np.fromiter((self._row_of[id] for id in ids), np.int64, len(ids))
        return rows, np.array(evicted, np.int64)

    def state(self) -> State:
        """Return a copy: ids by row, and the rows from the least to the most recently seen."""
        return {
            "capacity": self._capacity,
            "ids": self._id_of.copy(),
            "order": np.fromiter(self._row_of.values(), np.int64, len(self._row_of)),
            "num_evictions": self.num_evictions,
        }

    def load(self, state: State) -> None:
        """Take ``state`` over in place of what is held.

        Raises:
            StateError: it is of another capacity, which decides who is evicted, or of no index; nothing has changed.
        """
        parts = Parts(state, ["capacity", "ids", "order", "num_evictions"])
        parts.expect("capacity", self._capacity)
        num_evictions, ids = parts.count("num_evictions"), parts.texts("ids")
        if len(ids) > self._capacity:
            raise StateError(f"ids: expected at most {self._capacity}, got {len(ids)}")
        order = parts.array("order", np.int64, (len(ids),))
        if not np.array_equal(np.sort(order), np.arange(len(ids))):
            raise StateError(f"order: expected each of {len(ids)} rows once, got others")
        row_of = {ids[row]: row for row in order.tolist()}
        if len(row_of) < len(ids):
            raise StateError(f"ids: expected {len(ids)} different ones, got {len(row_of)}")
        self._row_of, self._id_of, self.num_evictions = row_of, ids, num_evictions

    def _mark_seen(self, id: str) -> bool:
        row = self._row_of.pop(id, None)
        if row is None:
            return False
        self._row_of[id] = row
        return True

    def _insert(self, ids: list[str]) -> list[int]:
        """Give ``ids`` rows; return those that other ids had to leave."""
        num_free = self._capacity - len(self._id_of)
        for id in ids[:num_free]:
            self._row_of[id] = len(self._id_of)
            self._id_of.append(id)
        # All that leave are found in one go: each look at the front passes over what was taken out there before.
        leaving = list(islice(self._row_of, max(len(ids) - num_free, 0)))
        evicted = [self._row_of.pop(old) for old in leaving]
        for id, row in zip(ids[num_free:], evicted, strict=True):
            self._row_of[id] = row
            self._id_of[row] = id
        self.num_evictions += len(evicted)
        return evicted


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
        """How many ids have lost their row since the start."""
        return sum(part.num_evictions for part in self._parts)

    @property
    def num_partitions(self) -> int:
        """How many indexes there are."""
        return len(self._parts)

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

    def rows_for(self, partitions: Sequence[int], ids: Sequence[str]) -> tuple[Int64, Int64]:
        """Return the row of every id of its partition, and the rows that changed owner, as ``IdIndex`` does."""
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
            local, gone = self._parts[partition].rows_for([ids[place] for place in at])
            rows[at] = local * len(self._parts) + partition
            evicted.append(gone * len(self._parts) + partition)
        return rows, np.concatenate(evicted)

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
            Parts({"num_partitions": state["num_partitions"]}, ["num_partitions"]).expect(
                "num_partitions", len(self._parts)
            )
        numbers = [str(number) for number in range(len(self._parts))]
        parts = Parts(state, ["num_partitions", *numbers])
        for number, part in zip(numbers, self._parts, strict=True):
            parts.give(number, part)
