"""What each event could know of its user: fresh, in time order, never newer than a late event."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models import NO_ROW, Batch
from online_models.users.history import Context, Histories
from tests.support.streams import NONE, events


def learned(length: int, *batches: Batch) -> Histories:
    histories = Histories(length)
    histories.grow(4)
    for batch in batches:
        histories.write(histories.plan(batch).after)
    return histories


def items_of(context: Context) -> list[list[int]]:
    return [[item for item in row if item != NO_ROW] for row in context.item_rows.tolist()]


def test_an_event_knows_the_earlier_events_of_its_user_in_the_same_sub_step() -> None:
    step = learned(8, events([0], [5], [0])).plan(events([0, 1, 0, 0], [6, 7, 8, 9], [1, 1, 2, 3]))

    assert items_of(step.context) == [[5], [], [6, 5], [8, 6, 5]]
    assert step.ordinals.tolist() == [0, 0, 1, 2]


def test_a_history_keeps_the_newest_events_only() -> None:
    histories = learned(3, events([0] * 5, [1, 2, 3, 4, 5]))

    assert items_of(histories.context(np.array([0]))) == [[5, 4, 3]]


def test_evidence_against_an_item_and_worthless_events_stay_out_of_the_history() -> None:
    histories = learned(8, events([0, 0, 0], [1, 2, 3], weights=[1.0, -1.0, 0.0]))

    assert items_of(histories.context(np.array([0]))) == [[1]]


def test_a_late_event_takes_its_place_by_time_and_knows_nothing_newer() -> None:
    histories = learned(8, events([0, 0], [1, 3], [100, 300]))
    step = histories.plan(events([0, 0], [2, 4], [200, 400]))

    assert step.is_late.tolist() == [True, False]
    assert items_of(step.context) == [[1], [3, 2, 1]]
    assert items_of(step.after) == [[4, 3, 2, 1]]
    assert step.advancing.tolist() == [[1]]


def test_a_late_event_older_than_a_full_history_is_dropped_from_it() -> None:
    histories = learned(2, events([0, 0], [1, 2], [100, 200]), events([0], [9], [50]))

    assert items_of(histories.context(np.array([0]))) == [[2, 1]]


def test_an_event_later_in_the_same_sub_step_makes_an_older_one_late() -> None:
    step = learned(8).plan(events([0, 0, 1], [1, 2, 3], [200, 100, 0]))

    assert step.is_late.tolist() == [False, True, False]


def test_equal_times_keep_the_order_of_the_stream() -> None:
    histories = learned(8, events([0, 0, 0], [1, 2, 3], [7, 7, 7]))

    assert items_of(histories.context(np.array([0]))) == [[3, 2, 1]]


def test_a_reset_item_leaves_every_history_and_the_others_close_up() -> None:
    histories = learned(4, events([0, 0, 0, 1], [1, 2, 3, 2]))

    histories.reset(NONE, np.array([2]))

    assert items_of(histories.context(np.array([0, 1]))) == [[3, 1], []]
    assert histories.context(np.array([0])).times_ms[0, :2].tolist() == [2000, 0]


def test_a_user_never_seen_has_an_empty_history() -> None:
    assert items_of(Histories(4).context(np.array([10**6]))) == [[]]
    assert items_of(learned(4).context(np.array([10**6]))) == [[]]


stream = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 6), st.sampled_from([1.0, 1.0, -1.0, 0.0])),
    max_size=24,
)


@settings(deadline=None)
@given(stream, st.integers(1, 8))
def test_histories_equal_those_kept_event_by_event(rows: list[tuple[int, int, int, float]], size: int) -> None:
    histories, kept = Histories(4), {user: [] for user in range(3)}
    histories.grow(3)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        users, items, times, weights = (list(column) for column in zip(*part, strict=True))
        step = histories.plan(events(users, items, times, weights))
        for place, (user, item, time, weight) in enumerate(part):
            past = kept[user]
            late = bool(past) and time < past[0][0]
            assert bool(step.is_late[place]) == late
            assert items_of(step.context)[place] == [i for t, i in past if not late or t <= time]
            if weight > 0:
                at = sum(t > time for t, _ in past)
                kept[user] = [*past[:at], (time, item), *past[at:]][:4]
        histories.write(step.after)
        assert items_of(histories.context(np.arange(3))) == [[i for _, i in kept[user]] for user in range(3)]
