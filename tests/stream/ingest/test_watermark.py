"""The time of the stream: what most of the newest events say, and never back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import State, StateError, digest, flatten, unflatten
from stream.ingest.watermark import WINDOW_EVENTS, Watermark

DAY_MS = 86_400_000


def running(start_ms: int = DAY_MS, num_events: int = 200) -> Watermark:
    watermark = Watermark()
    watermark.advance([start_ms + number for number in range(num_events)])
    return watermark


def test_the_time_is_the_middle_of_the_newest_events() -> None:
    watermark = Watermark()

    assert watermark.advance(list(range(1, 102))) == 51
    assert watermark.advance([102]) == 51  # of 1 to 102 the lower of the middle two
    assert watermark.advance([103]) == 52  # the oldest has left


def test_there_is_no_time_before_a_window_of_events() -> None:
    watermark = Watermark()

    assert watermark.advance([DAY_MS] * (WINDOW_EVENTS - 1)) == 0
    assert watermark.advance([DAY_MS]) == DAY_MS


@pytest.mark.parametrize("number", [1, 50])
def test_events_from_the_future_move_nothing_unless_they_are_the_most(number: int) -> None:
    watermark = running()
    before = watermark.time_ms

    assert watermark.advance([DAY_MS * 10_000] * number) <= before + 100

    assert watermark.advance([DAY_MS * 10_000] * 200) == DAY_MS * 10_000


def test_the_first_event_from_the_future_moves_nothing_either() -> None:
    watermark = Watermark()
    watermark.advance([DAY_MS * 10_000])

    assert watermark.advance([DAY_MS] * 300) == DAY_MS


def test_late_events_never_turn_the_time_back() -> None:
    watermark = running(DAY_MS * 5)
    before = watermark.time_ms

    assert watermark.advance([1] * 500) == before


def test_nothing_is_old_before_the_time_has_gone_on_for_its_whole_life() -> None:
    watermark = running(DAY_MS)
    first_ms = watermark.time_ms
    assert watermark.horizon_ms(3600) is None  # what came before there was a time was seen just now

    watermark.advance([first_ms + 3_600_000] * 200)
    assert watermark.horizon_ms(3600) is None
    watermark.advance([first_ms + 3_600_001] * 200)
    assert watermark.horizon_ms(3600) == first_ms + 1
    assert watermark.horizon_ms(0) is None


@given(st.lists(st.lists(st.integers(0, 10**13), max_size=150), max_size=8), st.integers(0, 8))
def test_a_restored_time_goes_on_as_the_one_that_was_saved(batches: list[list[int]], restored_at: int) -> None:
    never, other = Watermark(), Watermark()
    for number, times_ms in enumerate(batches):
        if number == restored_at:
            other = Watermark()
            other.load(unflatten(flatten(never.state())))
        before = never.time_ms
        assert other.advance(times_ms) == never.advance(times_ms) >= before
    if restored_at < len(batches):
        assert digest(other.state()) == digest(never.state())


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"times_ms": np.array([1, 1])},
        {"times_ms": np.array([1]), "newest_ms": np.array([1])},
        {"times_ms": np.array([1.0, 1.0]), "newest_ms": np.array([1])},
        {"times_ms": np.array([1, 1]), "newest_ms": np.arange(102)},
        {"times_ms": np.array([1, 1]), "newest_ms": np.array([1]), "more": 1},
    ],
)
def test_what_is_no_state_of_a_time_is_refused(state: State) -> None:
    with pytest.raises(StateError, match=r"^watermark: expected"):
        Watermark().load(state)
