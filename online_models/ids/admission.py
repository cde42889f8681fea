"""Which ids have come often enough to own a row: a bounded count of those that do not yet."""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from online_models.errors import ConfigError, StateError
from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State

__all__ = ["Admission"]

Bool = npt.NDArray[np.bool_]


class Admission:
    """Counts the events of ids without a row; of more than ``capacity`` candidates the longest uncounted is forgotten.

    The count of a candidate that is held is exact. A sketch of fixed size would need no ids, but would admit some that
    never came, more of them the longer the stream, and there would be no telling which.

    Args:
        num_needed: events that an id needs, at least 1; 1 admits everybody.
        capacity: most candidates held, at least 1.

    Raises:
        ConfigError: one of them is below 1.
    """

    def __init__(self, num_needed: int, capacity: int) -> None:
        if num_needed < 1 or capacity < 1:
            raise ConfigError(f"admission: expected num_needed and capacity >= 1, got {num_needed} and {capacity}")
        self.num_needed = num_needed
        self._capacity = capacity
        self._counts: dict[str, int] = {}  # the longest uncounted first

    def __len__(self) -> int:
        """Return how many candidates are held."""
        return len(self._counts)

    def admit(self, ids: Sequence[str], counts: Bool, is_known: Callable[[str], bool]) -> Bool:
        """Return which events are of an id that may own a row, each by what came up to and with it.

        Args:
            ids: n ids, in stream order.
            counts: ``[n]``, whether the event counts.
            is_known: whether an id owns a row already, which nothing here takes from it.

        Returns:
            ``[n]`` bool. An id that was admitted is no candidate any more: its owner has to give it its row.
        """
        if self.num_needed == 1:
            return np.ones(len(ids), np.bool_)
        admitted: set[str] = set()
        passes = np.zeros(len(ids), np.bool_)
        for place, (id, does_count) in enumerate(zip(ids, counts.tolist(), strict=True)):
            if id in admitted or is_known(id):
                passes[place] = True
            elif does_count:
                number = self._counts.pop(id, 0) + 1
                if number >= self.num_needed:
                    passes[place] = True
                    admitted.add(id)
                else:
                    self._counts[id] = number
        # In one go: each look at the front passes over what was taken out there before.
        for id in list(islice(self._counts, max(len(self._counts) - self._capacity, 0))):
            del self._counts[id]
        return passes

    def state(self) -> State:
        """Return a copy: the candidates, the longest uncounted first, and how often each was counted."""
        return {
            "ids": list(self._counts),
            "counts": np.fromiter(self._counts.values(), np.int64, len(self._counts)),
        }

    def load(self, state: State) -> None:
        """Take ``state`` over in place of what is held; another ``num_needed`` is no hindrance.

        Raises:
            StateError: there are more than ``capacity``, or it is of no admission; nothing has changed.
        """
        parts = StateReader(state, ["ids", "counts"])
        ids = parts.texts("ids")
        if len(ids) > self._capacity or len(set(ids)) < len(ids):
            raise StateError(f"ids: expected at most {self._capacity}, all different, got {len(ids)}")
        self._counts = dict(zip(ids, parts.array("counts", np.int64, (len(ids),)).tolist(), strict=True))
