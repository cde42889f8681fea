"""What goes into a step and what comes out of a ranking: plain arrays in host memory.

Ids never come this far: every user and item is a row of a table. Who owns which row is the
business of the caller (see ``id_index.py``).
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from online_models.errors import ShapeError
from online_models.runtime.effort import Effort
from online_models.tables.growing import NO_ROW

__all__ = ["NO_ROW", "Batch", "TopK"]

MAX_ROW = 2**31 - 2
"""Tables name rows in 32 bits."""

Int64 = npt.NDArray[np.int64]
_EVENT_DTYPES = {
    "user_rows": np.int64,
    "item_rows": np.int64,
    "event_types": np.int8,
    "times_ms": np.int64,
    "weights": np.float32,
    "owns": np.bool_,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B events in stream order, and the rows that changed owner before them."""

    user_rows: Int64
    """``[B]`` int64, at least 0."""
    item_rows: Int64
    """``[B]`` int64; ``NO_ROW``: the item owns none yet, so the event is evaluated, as a miss, and not learned."""
    event_types: npt.NDArray[np.int8]
    """``[B]`` int8, index into the caller's list of types, at least 0."""
    times_ms: Int64
    """``[B]`` int64, event time."""
    weights: npt.NDArray[np.float32]
    """``[B]`` float32, finite: above 0 evidence for the item, below 0 against it, 0 is not learned."""
    owns: npt.NDArray[np.bool_]
    """``[B]`` bool: the event puts the item among what the user has, which is masked from his lists."""
    reset_user_rows: Int64
    """int64: user rows whose old owner has left; forgotten before this batch is used."""
    reset_item_rows: Int64
    """int64: item rows whose old owner has left; forgotten before this batch is used."""
    effort: Effort = Effort.NORMAL
    """What is spent on it."""

    def __post_init__(self) -> None:
        num_events = np.size(self.user_rows)
        for name, dtype in _EVENT_DTYPES.items():
            _check(name, getattr(self, name), np.dtype(dtype), (num_events,))
        for name in ("reset_user_rows", "reset_item_rows"):
            _check(name, getattr(self, name), np.dtype(np.int64), None)
        for name in ("user_rows", "item_rows", "event_types", "reset_user_rows", "reset_item_rows"):
            values = getattr(self, name)
            least = NO_ROW if name == "item_rows" else 0
            if values.size and not (values.min() >= least and values.max() <= MAX_ROW):
                found = f"{values.min()}..{values.max()}"
                raise ShapeError(f"batch.{name}: expected values in {least}..{MAX_ROW}, got {found}")
        if not np.isfinite(self.weights).all():
            raise ShapeError("batch.weights: expected finite values, got NaN or infinity")

    def __len__(self) -> int:
        return int(self.user_rows.size)

    def part(self, start: int, stop: int) -> "Batch":
        """Return events ``start`` to ``stop``, views where possible; the resets belong to the whole, so none."""
        return self._at(slice(start, stop))

    def take(self, places: Int64) -> "Batch":
        """Return the events at ``places``, copied; no resets."""
        return self._at(places)

    def _at(self, which: slice | Int64) -> "Batch":
        none = np.empty(0, np.int64)
        # torch warns of an array that it could not write to, so such a one is copied.
        events = {name: np.require(getattr(self, name)[which], requirements="W") for name in _EVENT_DTYPES}
        return replace(self, **events, reset_user_rows=none, reset_item_rows=none)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The K best items of R users, best first."""

    user_rows: Int64
    """``[R]`` int64."""
    item_rows: Int64
    """``[R, K]`` int64, ``NO_ROW`` where the list is shorter."""
    scores: npt.NDArray[np.float32]
    """``[R, K]`` float32 in 0..1, descending: probability over the items that may be listed; 0 where empty."""
    reasons: Int64
    """``[R, K]`` int64: the item of the user's history that contributed most through the transition
    memory, or ``NO_ROW``."""

    def __post_init__(self) -> None:
        shape = (np.size(self.user_rows), np.shape(self.item_rows)[-1])
        _check("user_rows", self.user_rows, np.dtype(np.int64), shape[:1])
        for field in fields(self)[1:]:
            dtype = np.dtype(np.float32 if field.name == "scores" else np.int64)
            _check(field.name, getattr(self, field.name), dtype, shape)


def _check(name: str, values: object, dtype: np.dtype[np.generic], shape: tuple[int, ...] | None) -> None:
    expected = f"{name}: expected {dtype} {list(shape) if shape is not None else '[*]'}"
    if not isinstance(values, np.ndarray):
        raise ShapeError(f"{expected}, got {type(values).__name__}")
    if values.dtype != dtype or (values.ndim != 1 if shape is None else values.shape != shape):
        raise ShapeError(f"{expected}, got {values.dtype} {list(values.shape)}")
