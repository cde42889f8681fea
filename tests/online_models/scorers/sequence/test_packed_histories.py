"""What the network is told about the time between events, worked by hand."""

import numpy as np

from online_models import NO_ROW
from online_models.scorers.sequence.packed_histories import (
    NUM_GAP_BUCKETS,
    runs_of_contexts,
    runs_of_users,
    runs_of_windows,
    stack_runs,
)
from online_models.scorers.sequence.replay_buffer import Windows
from online_models.users.history import Context, Histories
from tests.support.streams import events

NAMES = ("item_rows", "event_types", "times_ms", "weights")


def windows(item_rows: list[list[int]], times_ms: list[list[int]]) -> Windows:
    items = np.array(item_rows, np.int64)
    return Windows(
        item_rows=items,
        event_types=np.zeros(items.shape, np.int8),
        times_ms=np.array(times_ms, np.int64),
        weights=np.ones(items.shape, np.float32),
    )


def context(item_rows: list[list[int]], event_types: list[list[int]], times_ms: list[list[int]]) -> Context:
    return Context(
        user_rows=np.arange(len(item_rows)),
        item_rows=np.array(item_rows, np.int64),
        event_types=np.array(event_types, np.int8),
        times_ms=np.array(times_ms, np.int64),
    )


def test_a_gap_falls_into_the_bucket_of_its_power_of_two_and_no_event_into_none() -> None:
    # Gaps of 0, 1, 2, 3, 1000 and -5 ms; floor(log2(gap + 1)) is 0, 1, 1, 2, 9 and, for none below 0, again 0.
    times = [100, 100, 101, 103, 106, 1106, 1101, 0]
    runs = runs_of_windows(windows([[4, 4, 5, 6, 7, 8, 9, NO_ROW]], [times]))

    assert runs.gaps.tolist() == [[0, 1, 2, 2, 3, 10, 1, 0]]
    assert runs.item_rows.tolist() == [[4, 4, 5, 6, 7, 8, 9, NO_ROW]]


def test_the_longest_gap_has_a_bucket() -> None:
    runs = runs_of_windows(windows([[1, 2]], [[0, 2**63 - 1]]))

    assert runs.gaps.tolist() == [[0, NUM_GAP_BUCKETS - 1]]


def test_the_gap_between_the_ends_of_time_is_the_longest_and_not_none() -> None:
    ends = np.iinfo(np.int64)

    runs = runs_of_windows(windows([[1, 2]], [[ends.min, ends.max]]))

    assert runs.gaps.tolist() == [[0, NUM_GAP_BUCKETS - 1]]


def test_the_gap_of_a_users_newest_event_is_that_to_the_one_before_it() -> None:
    histories = Histories(4)
    histories.write(histories.plan(events([0, 0, 1], [1, 2, 3], [0, 7, 50])).after)
    step = histories.plan(events([0, 0, 1, 2], [4, 5, 6, 7], [8, 39, 51, 60]))

    runs = runs_of_users(step.before, step.batch, step.advancing)

    # User 0: 7 before his newest, then 1 and 31. User 1: nothing before it, then 1. User 2: nothing at all before.
    assert runs.item_rows.tolist() == [[2, 4, 5], [3, 6, NO_ROW], [NO_ROW, 7, NO_ROW]]
    assert runs.gaps.tolist() == [[4, 2, 6], [0, 2, 0], [0, 0, 0]]


def test_a_whole_history_is_read_oldest_first() -> None:
    items, types = [[3, 2, 1], [5, NO_ROW, NO_ROW]], [[7, 8, 9], [6, 0, 0]]
    runs = runs_of_contexts(context(items, types, [[4, 3, 0], [9, 0, 0]]))

    assert runs.item_rows.tolist() == [[1, 2, 3], [5, NO_ROW, NO_ROW]]
    assert runs.event_types[0].tolist() == [9, 8, 7]
    assert runs.event_types[1, 0] == 6
    assert runs.gaps.tolist() == [[0, 3, 2], [0, 0, 0]]


def test_histories_without_events_are_read_as_one_place_without_item() -> None:
    assert runs_of_contexts(context([[NO_ROW] * 3], [[0] * 3], [[0] * 3])).item_rows.tolist() == [[NO_ROW]]


def test_stacked_runs_are_padded_to_the_longest() -> None:
    one, two = (runs_of_windows(windows([items], [list(range(len(items)))])) for items in ([1, 2, 3], [4]))

    stacked = stack_runs(one, two)

    assert stacked.item_rows.tolist() == [[1, 2, 3], [4, NO_ROW, NO_ROW]]
    assert stacked.gaps.tolist() == [[0, 2, 2], [0, 0, 0]]


def test_packed_runs_hold_every_event_once_the_longest_run_first() -> None:
    longer, shorter, empty = (
        runs_of_windows(windows([items], [list(range(len(items)))])) for items in ([1, 2, 3], [4, 5], [NO_ROW])
    )

    packed = stack_runs(shorter, empty, longer).packed()

    assert packed.item_rows.tolist() == [1, 4, NO_ROW, 2, 5, 3]
    assert packed.counts.tolist() == [3, 2, 1]
    assert packed.order.tolist() == [2, 0, 1]
    assert packed.places[2].tolist() == [0, 3, 5]
    assert packed.places[0, :2].tolist() == [1, 4]
    assert packed.places[1, 0] == 2
    assert packed.gaps.tolist() == [0, 0, 0, 2, 2, 2]  # 1 ms after the one before


def test_a_run_that_begins_with_nothing_is_packed_with_what_follows() -> None:
    packed = runs_of_windows(windows([[NO_ROW, 7]], [[0, 0]])).packed()

    assert packed.item_rows.tolist() == [NO_ROW, 7]
    assert packed.counts.tolist() == [1, 1]


def test_no_runs_are_packed_as_none() -> None:
    none = runs_of_windows(Windows(**{name: getattr(windows([[1]], [[0]]), name)[:0] for name in NAMES}))

    packed = none.packed()

    assert packed.item_rows.shape == packed.counts.shape == packed.order.shape == (0,)
    assert packed.places.shape == (0, 1)
