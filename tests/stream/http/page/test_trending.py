"""An item rises when it is taken more often than its usual share, by more than chance."""

import numpy as np
import pytest

from stream.http.page import trending
from stream.http.page.trending import Rising

NONE = np.empty(0, np.int64)


def steady(counts: Rising, num_events: int, num_items: int = 50) -> None:
    rng = np.random.default_rng(1)
    for start in range(0, num_events, 100):
        counts.learn(rng.integers(0, num_items, min(100, num_events - start)), NONE)


def test_nothing_rises_before_the_first_event_nor_in_a_stream_that_stays_as_it_is() -> None:
    counts = Rising()
    assert counts.best(5) == []

    counts.learn(np.tile(np.arange(50), 200), NONE)

    assert counts.best(5) == []


def test_what_is_suddenly_taken_comes_first_with_how_many_times_its_usual_share() -> None:
    counts = Rising()
    steady(counts, 20_000)

    for _ in range(10):
        counts.learn(np.concatenate([np.full(10, 7), np.full(5, 60), np.arange(50).repeat(2)]), NONE)

    found = counts.best(2)
    assert {rise.row for rise in found} == {7, 60}
    assert all(rise.lift > 2 for rise in found)
    assert len(counts.best(1)) == 1


def test_the_lift_is_the_share_of_now_over_the_usual_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "SHORT_HALF_LIFE_EVENTS", 10.0)
    monkeypatch.setattr(trending, "LONG_HALF_LIFE_EVENTS", 1e12)
    counts = Rising()
    counts.learn(np.zeros(1000, np.int64), NONE)

    counts.learn(np.ones(10, np.int64), NONE)

    (rise,) = counts.best(5)
    assert rise.row == 1
    assert rise.num_events == pytest.approx(5.0)  # ten, one half-life ago
    assert rise.lift == pytest.approx(101.0)  # all of now, and 10 of 1010 events


def test_a_row_with_a_new_owner_begins_anew() -> None:
    counts = Rising()
    steady(counts, 10_000)
    counts.learn(np.full(300, 7), NONE)
    assert [rise.row for rise in counts.best(1)] == [7]

    counts.learn(np.arange(50), np.array([7, 9_999]))

    assert all(rise.row != 7 for rise in counts.best(50))


def test_counts_stay_finite_through_any_number_of_half_lives() -> None:
    counts = Rising()
    for _ in range(80):
        counts.learn(np.zeros(1000, np.int64), NONE)

    assert counts._short.values()[0] == pytest.approx(1442.7, rel=0.5)
