"""In what situation a question is asked: small facts about the user's history, each in one of a few buckets.

Nothing in it needs the time of the question: a published list is read later, and nobody knows when.
"""

import numpy as np
import numpy.typing as npt

from online_models.batch import NO_ROW
from online_models.users.history import Context

__all__ = ["NUM_FACTS", "num_situations", "situations_of"]

Int64 = npt.NDArray[np.int64]

NUM_FACTS = 5
"""Buckets a question is in: the one of all questions, then one each for length, gap, repetition and basket."""
_NUM_GAPS = 15
_GAP_UNIT_MS = 250.0
_NUM_REPETITIONS = 11
_REPETITION_WINDOW = 20


def num_situations(history_length: int) -> int:
    """Return how many buckets there are in all."""
    return int(_sizes(history_length).sum())


def situations_of(context: Context) -> Int64:
    """Return the buckets that each question is in, ``[R, NUM_FACTS]`` int64 below ``num_situations``.

    The facts: how long the history is; how long before the newest event the one before it was; which share of the
    newest events were on items that the history had already, and whether the newest was; how many events share the
    time stamp of the newest, as the lines of one basket do.
    """
    held = context.item_rows != NO_ROW
    lengths = held.sum(axis=1)
    facts = np.stack(
        [
            np.zeros(len(lengths), np.int64),
            _power_of_two(lengths),
            _gap(context, lengths),
            _repetition(context.item_rows[:, :_REPETITION_WINDOW]),
            _power_of_two(((context.times_ms == context.times_ms[:, :1]) & held).sum(axis=1)),
        ],
        axis=1,
    )
    sizes = _sizes(context.item_rows.shape[1])
    buckets: Int64 = facts + (np.cumsum(sizes) - sizes)
    return buckets


def _sizes(history_length: int) -> Int64:
    num_powers = history_length.bit_length() + 1
    return np.array([1, num_powers, _NUM_GAPS, _NUM_REPETITIONS, num_powers])


def _power_of_two(counts: npt.NDArray[np.integer]) -> Int64:
    """Return 0 for none, then one bucket per power of two."""
    buckets: Int64 = np.ceil(np.log2(counts + 1.0)).astype(np.int64)
    return buckets


def _gap(context: Context, lengths: npt.NDArray[np.integer]) -> Int64:
    """Return 0 where there are not two events, then one bucket per power of four."""
    # As floats: the difference of the ends of time is beyond int64.
    gaps_ms = np.maximum(context.times_ms[:, 0].astype(np.float64) - context.times_ms[:, 1], 0.0)
    buckets = 1 + np.ceil(np.log2(gaps_ms / _GAP_UNIT_MS + 1.0) / 2.0).astype(np.int64)
    return np.where(lengths >= 2, buckets.clip(max=_NUM_GAPS - 1), 0)


def _repetition(items: Int64) -> Int64:
    """Return 0 where there are not two events, then five shares of repeated ones, then these with a repeated newest."""
    equal = (items[:, :, None] == items[:, None, :]) & (items != NO_ROW)[:, :, None]
    is_repeated = (equal & np.tri(items.shape[1], k=-1, dtype=np.bool_).T).any(axis=2)
    num_pairs = (items != NO_ROW).sum(axis=1) - 1
    shares = np.ceil(4.0 * is_repeated.sum(axis=1) / num_pairs.clip(min=1)).astype(np.int64)
    return np.where(num_pairs < 1, 0, 1 + shares + 5 * is_repeated[:, 0])
