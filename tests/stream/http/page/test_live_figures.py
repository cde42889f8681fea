"""The figures of the page, worked by hand from a few batches."""

from itertools import pairwise

import pytest

from stream.http.page import trending
from stream.http.page.live_figures import Board
from tests.support.events import NOW_MS, event_bytes
from tests.support.worked import NUM_ITEMS, NUM_USERS, Worked


def test_rate_freshness_counts_and_epochs_are_those_of_the_batches() -> None:
    worked = Worked()
    board = Board(worked.settings, 0.0)
    worked.send(24)

    for now in (10.0, 12.0, 14.0):
        report = worked.pipeline.run_once()
        assert report is not None
        board.committed(report, now)
    board.went_round(worked.pipeline.state.quality, {0: 3, 1: 4}, 14.5, NOW_MS)
    shown = board.read(worked.pipeline, 15.5, NOW_MS + 99)

    assert (shown.at_ms, shown.epoch, shown.k, shown.num_events) == (NOW_MS + 99, 3, 3, 24)
    assert shown.events_per_second == 16 / 5  # the two batches of the newest five seconds
    assert (shown.freshness_p50_seconds, shown.freshness_p99_seconds) == (0.75, 0.75)
    assert shown.lag_records == 7
    assert (shown.num_users, shown.num_items) == (NUM_USERS, NUM_ITEMS)
    assert [(line.epoch, line.records) for line in shown.epochs] == [(3, 8), (2, 8), (1, 8)]
    assert shown.num_lists == sum(line.lists for line in shown.epochs) > 0
    assert all(line.seconds > 0 for line in shown.epochs)
    assert [point.time_ms for point in shown.points] == [NOW_MS]
    assert shown.points[0].hit_ratios is not None
    assert shown.models == ("model", "transitions", "popularity")
    assert shown.dead_letters == {}
    assert set(shown.newest_users) <= {f"u{number}" for number in range(NUM_USERS)}


def test_figures_of_now_fade_when_no_event_comes() -> None:
    worked = Worked()
    board = Board(worked.settings, 0.0)
    worked.send(8)
    report = worked.pipeline.run_once()
    assert report is not None
    board.committed(report, 100.0)

    assert board.read(worked.pipeline, 104.0, 0).events_per_second == 8 / 5
    assert board.read(worked.pipeline, 105.0, 0).events_per_second == 0
    assert board.read(worked.pipeline, 130.0, 0).freshness_p50_seconds == 0.75
    assert board.read(worked.pipeline, 131.0, 0).freshness_p50_seconds is None


def test_before_the_first_event_nothing_is_claimed() -> None:
    worked = Worked()
    board = Board(worked.settings, 0.0)
    board.went_round(worked.pipeline.state.quality, {}, 2.0, NOW_MS)

    shown = board.read(worked.pipeline, 2.0, NOW_MS)

    assert (shown.events_per_second, shown.freshness_p50_seconds, shown.epochs, shown.rising) == (0, None, (), ())
    assert [point.hit_ratios for point in shown.points] == [None]


def test_the_lines_get_one_point_a_second_and_keep_ten_minutes() -> None:
    worked = Worked()
    board = Board(worked.settings, 0.0)
    for step in range(3000):
        board.went_round(worked.pipeline.state.quality, {0: step}, step * 0.25, step * 250)

    points = board.read(worked.pipeline, 750.0, 0).points

    assert len(points) == 600
    assert {later.time_ms - earlier.time_ms for earlier, later in pairwise(points)} == {1000}


def test_dead_letters_are_counted_by_code_and_the_newest_users_are_different_ones() -> None:
    worked = Worked()
    board = Board(worked.settings, 0.0)
    for value in (b"{", b"{}", b"?", event_bytes("a", "x"), event_bytes("b", "x"), event_bytes("a", "y")):
        worked.log.produce(value)
    report = worked.pipeline.run_once()
    assert report is not None
    board.committed(report, 1.0)

    shown = board.read(worked.pipeline, 1.0, 0)

    assert shown.dead_letters == {"not_json": 2, "missing_field": 1}
    assert shown.newest_users == ("a", "b")


def test_a_batch_of_nothing_but_items_without_a_row_is_shown() -> None:
    worked = Worked(model={"item_admission_events": 2})
    worked.log.produce(event_bytes("ana", "x"))

    assert worked.round() is not None


def test_an_event_of_an_item_without_a_row_is_none_of_another_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "LEAST_COUNT", 0.0)
    monkeypatch.setattr(trending, "LEAST_DEVIATIONS", -1e9)
    worked = Worked(model={"item_admission_events": 2})
    board = Board(worked.settings, 0.0)
    for item in "xxyyabcd":
        worked.log.produce(event_bytes("ana", item))

    report = worked.pipeline.run_once()
    assert report is not None
    board.committed(report, 1.0)

    assert [round(rise.num_events) for rise in board._rising.best(5)] == [1, 1]  # x and y, from their second event on
