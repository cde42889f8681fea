"""Runs of a user's events in the order in which the recurrent network reads them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from online_models.batch import NO_ROW, Batch
from online_models.scorers.sequence.replay_buffer import Windows
from online_models.users.history import Context

__all__ = [
    "NUM_GAP_BUCKETS",
    "Lookback",
    "PackedRuns",
    "Runs",
    "lookback_of_context",
    "lookback_of_windows",
    "runs_of_contexts",
    "runs_of_users",
    "runs_of_windows",
    "stack_lookbacks",
    "stack_runs",
    "window_targets",
]

Int64 = npt.NDArray[np.int64]

NUM_GAP_BUCKETS = 65
"""One for "no event before", then one per power of two of an int64 number of milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """N runs of at most T events, oldest first."""

    item_rows: Int64
    """``[N, T]`` int64, ``NO_ROW`` where there is no event."""
    event_types: Int64
    """``[N, T]`` int64."""
    gaps: Int64
    """``[N, T]`` int64: bucket of the time since the event before, 0 where there was none."""

    def packed(self) -> "PackedRuns":
        """Return what there is of them, each run up to its last event but at least its first place."""
        num_runs, length = self.item_rows.shape
        columns = np.arange(length)
        lengths = np.where(self.item_rows != NO_ROW, columns + 1, 1).max(axis=1, initial=1)
        order = np.argsort(-lengths, kind="stable")
        is_there = columns[:, None] < lengths[order]  # [T, N]
        counts = is_there.sum(axis=1)
        places = np.empty((num_runs, length), np.int64)
        places[order] = (np.cumsum(is_there.ravel()) - 1).reshape(length, num_runs).T

        def pack(table: Int64) -> Int64:
            packed: Int64 = table[order].T[is_there]
            return packed

        return PackedRuns(
            item_rows=pack(self.item_rows),
            event_types=pack(self.event_types),
            gaps=pack(self.gaps),
            counts=counts[counts > 0],
            order=order,
            places=places,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRuns:
    """The S events of N runs without what is empty: first events first, of these the longest run's first."""

    item_rows: Int64
    """``[S]`` int64, ``NO_ROW`` in the first place of a run that begins with nothing."""
    event_types: Int64
    """``[S]`` int64."""
    gaps: Int64
    """``[S]`` int64."""
    counts: Int64
    """``[T]`` int64: how many runs have a first event, a second event and so on; the sizes of batches of torch."""
    order: Int64
    """``[N]`` int64: the runs, the longest first."""
    places: Int64
    """``[N, T]`` int64: where each event of each run is among the S; means nothing beyond its last."""


def runs_of_users(before: Context, batch: Batch, advancing: Int64) -> Runs:
    """Return each user's newest event and after it his advancing events of the batch: ``[G, 1 + M]``.

    Args:
        before: histories of the G users before the batch.
        advancing: ``[G, M]`` int64, positions in the batch, ``NO_ROW`` after the last.
    """
    empty = advancing == NO_ROW
    new_items = np.where(empty, NO_ROW, batch.item_rows[advancing])
    items = np.concatenate([before.item_rows[:, :1], new_items], axis=1)
    types = np.concatenate([before.event_types[:, :1], batch.event_types[advancing]], axis=1)
    # One column more to the left, so that the newest event too has the one before it.
    past_items = np.concatenate([before.item_rows[:, 1:2], items], axis=1)
    times = np.concatenate([before.times_ms[:, 1::-1], batch.times_ms[advancing]], axis=1)
    return _with_gaps(items, types, times, past_items)


def runs_of_windows(windows: Windows) -> Runs:
    """Return the runs of replayed windows: ``[W, T]``; the first event of each has no event before it."""
    return _from_the_start(windows.item_rows, windows.event_types, windows.times_ms)


def runs_of_contexts(context: Context) -> Runs:
    """Return the whole histories of R questions: ``[R, T]``, at least one event wide, also where all are empty."""
    lengths = context.lengths
    columns = lengths[:, None] - 1 - np.arange(max(int(lengths.max(initial=0)), 1))
    newest_last = np.arange(len(lengths))[:, None], columns.clip(min=0)
    items = np.where(columns < 0, NO_ROW, context.item_rows[newest_last])
    return _from_the_start(items, context.event_types[newest_last], context.times_ms[newest_last])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookback:
    """The newest items that each of P questions may know."""

    item_rows: Int64
    """``[P, L]`` int64, newest first, ``NO_ROW`` after the last."""
    ages: Int64
    """``[P, L]`` int64: bucket of the time from the event to the newest."""


def lookback_of_context(context: Context, length: int) -> Lookback:
    """Return the newest ``length`` items of each history."""
    return _lookback(context.item_rows[:, :length], context.times_ms[:, :length])


def lookback_of_windows(windows: Windows, places: Int64, at: Int64, length: int) -> Lookback:
    """Return the newest ``length`` items before the column ``at`` ``[P]`` of the window ``places`` ``[P]``."""
    columns = at[:, None] - 1 - np.arange(length)
    rows = places[:, None], columns.clip(min=0)
    return _lookback(np.where(columns < 0, NO_ROW, windows.item_rows[rows]), windows.times_ms[rows])


def stack_lookbacks(*stacked: Lookback) -> Lookback:
    """Return all, one below the other, padded to the longest of them."""
    return Lookback(item_rows=_stacked(stacked, "item_rows", NO_ROW), ages=_stacked(stacked, "ages", 0))


def stack_runs(*stacked: Runs) -> Runs:
    """Return all, one below the other, padded to the longest of them."""
    return Runs(
        item_rows=_stacked(stacked, "item_rows", NO_ROW),
        event_types=_stacked(stacked, "event_types", 0),
        gaps=_stacked(stacked, "gaps", 0),
    )


def window_targets(windows: Windows, num_targets: int) -> tuple[Int64, Int64]:
    """Return (window, column) of the last events of each window, but never of its first event."""
    lengths = (windows.item_rows != NO_ROW).sum(axis=1)[:, None]
    columns = np.arange(windows.item_rows.shape[1])
    places, at = np.nonzero((columns < lengths) & (columns >= lengths - num_targets) & (columns >= 1))
    return places, at


def _from_the_start(items: Int64, types: npt.NDArray[np.generic], times_ms: Int64) -> Runs:
    """Return runs ``[N, T]`` whose first event has no event before it."""
    past_items = np.concatenate([np.full((len(items), 1), NO_ROW, np.int64), items], axis=1)
    return _with_gaps(items, types, np.concatenate([times_ms[:, :1], times_ms], axis=1), past_items)


def _with_gaps(items: Int64, types: npt.NDArray[np.generic], times_ms: Int64, past_items: Int64) -> Runs:
    """Return runs from times ``[N, 1 + T]`` and items ``[N, 1 + T]`` shifted by one event."""
    has_both = (past_items[:, :-1] != NO_ROW) & (items != NO_ROW)
    gaps = np.where(has_both, _buckets(times_ms[:, 1:], times_ms[:, :-1]), 0)
    return Runs(item_rows=items, event_types=types.astype(np.int64), gaps=gaps)


def _lookback(items: Int64, times_ms: Int64) -> Lookback:
    return Lookback(item_rows=items, ages=np.where(items != NO_ROW, _buckets(times_ms[:, :1], times_ms), 0))


def _buckets(later_ms: Int64, earlier_ms: Int64) -> Int64:
    """Return 1 and up, one bucket per power of two of the milliseconds between."""
    # As floats: the difference of the ends of time is beyond int64.
    between_ms = np.maximum(later_ms.astype(np.float64) - earlier_ms, 0.0)
    buckets: Int64 = np.minimum(1 + np.log2(between_ms + 1.0).astype(np.int64), NUM_GAP_BUCKETS - 1)
    return buckets


def _stacked(parts: Sequence[Runs] | Sequence[Lookback], name: str, fill: int) -> Int64:
    """Return one table ``[N, T]`` of all parts, one below the other, padded to the widest."""
    tables: list[Int64] = [getattr(part, name) for part in parts]
    width = max(table.shape[1] for table in tables)
    return np.concatenate(
        [np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=fill) for table in tables]
    )
