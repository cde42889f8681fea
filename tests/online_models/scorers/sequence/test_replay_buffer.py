"""Replayed windows are true runs of one user's events, and nothing that was forgotten."""

import numpy as np

from online_models import NO_ROW
from online_models.scorers.sequence.replay_buffer import ReplayLog
from tests.support.streams import NONE


def add(log: ReplayLog, users: list[int], items: list[int]) -> list[int]:
    size = len(users)
    times, types, weights = np.arange(size), np.zeros(size, np.int8), np.ones(size, np.float32)
    log.grow(max(users) + 1)
    return log.add(np.array(users), np.array(items), types, times, weights).tolist()


def windows_of(log: ReplayLog, length: int) -> set[tuple[int, ...]]:
    windows = log.draw(np.random.default_rng(0), 400, length)
    return {tuple(item for item in row if item != NO_ROW) for row in windows.item_rows.tolist()}


def test_a_window_ends_at_any_event_and_holds_the_events_of_that_user_before_it() -> None:
    log = ReplayLog(100)
    add(log, [0, 1, 0], [10, 20, 11])
    add(log, [1, 0, 0], [21, 12, 13])

    assert windows_of(log, 3) == {(10,), (10, 11), (10, 11, 12), (11, 12, 13), (20,), (20, 21)}


def test_events_beyond_the_capacity_are_not_replayed() -> None:
    log = ReplayLog(4)
    for item in range(7):
        add(log, [0], [item])

    assert windows_of(log, 3) == {(3,), (3, 4), (3, 4, 5), (4, 5, 6)}


def test_of_more_events_than_fit_the_newest_are_kept_and_users_stay_apart() -> None:
    log = ReplayLog(4)
    add(log, [0, 1, 0, 1, 1, 0, 1, 0], [10, 20, 11, 21, 22, 12, 23, 13])

    assert windows_of(log, 3) == {(22,), (12,), (22, 23), (12, 13)}
    assert log.previous[log.user_rows == 0].tolist() == [2, 5]


def test_what_leaves_the_log_is_named_once() -> None:
    log = ReplayLog(4)

    assert add(log, [0, 1, 0], [10, 20, 11]) == []
    assert add(log, [0, 0, 0], [12, 13, 14]) == [10, 20]
    assert log.reset(np.array([1]), np.array([13])).tolist() == [13]
    assert sorted(add(log, [0] * 6, [1, 2, 3, 4, 5, 6])) == [1, 2, 11, 12, 14]


def test_reset_users_and_items_are_not_replayed() -> None:
    log = ReplayLog(100)
    add(log, [0, 1, 0, 1, 1], [10, 20, 11, 21, 22])

    log.reset(np.array([0]), np.array([21]))
    add(log, [0], [30])

    assert windows_of(log, 3) == {(), (20,), (20, 22), (30,)}


def test_an_empty_log_gives_empty_windows() -> None:
    assert windows_of(ReplayLog(10), 3) == {()}
    assert ReplayLog(10).draw(np.random.default_rng(0), 0, 3).item_rows.shape == (0, 3)


def test_resetting_nothing_keeps_all() -> None:
    log = ReplayLog(10)
    add(log, [0], [1])
    log.reset(NONE, NONE)

    assert windows_of(log, 2) == {(1,)}
