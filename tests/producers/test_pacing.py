"""Promises of the pacing: when an event is due, without drift."""

import pytest

from producers.pacing import Pacer, paced
from stream.errors import ConfigError
from stream.wire.schema import Event


class ManualClock:
    """Seconds from 0, moved by hand or by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds


def test_at_a_rate_of_four_an_event_is_due_every_quarter_second() -> None:
    clock = ManualClock()
    pacer = Pacer(rate=4.0, now=clock.now, sleep=clock.sleep)

    times = []
    for _ in range(5):
        pacer.wait(None)
        times.append(clock.seconds)

    assert times == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_time_spent_sending_does_not_push_the_schedule_back() -> None:
    clock = ManualClock()
    pacer = Pacer(rate=4.0, now=clock.now, sleep=clock.sleep)

    for _ in range(100):
        pacer.wait(None)
        clock.seconds += 0.1  # what sending costs

    # The hundredth is due at 99 / 4 s, and its sending ends a tenth later.
    assert clock.seconds == pytest.approx(24.85)


def test_after_a_stall_overdue_events_go_out_at_once_until_the_schedule_is_met() -> None:
    clock = ManualClock()
    pacer = Pacer(rate=1.0, now=clock.now, sleep=clock.sleep)
    pacer.wait(None)
    clock.seconds = 3.5

    for _ in range(4):
        pacer.wait(None)

    # Due at 1, 2 and 3: at once. Due at 4: after half a second.
    assert clock.naps == [0.5]


def test_at_speed_60_a_recorded_minute_takes_a_second() -> None:
    clock = ManualClock()
    pacer = Pacer(speed=60.0, now=clock.now, sleep=clock.sleep)

    for ts_ms in (1_000_000, 1_060_000, 1_090_000):
        pacer.wait(ts_ms)

    assert clock.naps == [1.0, 0.5]


def test_an_event_from_the_past_does_not_wait_and_does_not_move_the_schedule() -> None:
    clock = ManualClock()
    pacer = Pacer(speed=1.0, now=clock.now, sleep=clock.sleep)

    for ts_ms in (10_000, 4_000, 12_000):
        pacer.wait(ts_ms)

    assert clock.naps == [2.0]


def test_flat_out_never_looks_at_the_clock() -> None:
    def no_clock() -> float:
        raise AssertionError("asked for the time")

    pacer = Pacer(now=no_clock, sleep=lambda seconds: None)

    pacer.wait(None)
    pacer.wait(5)


def test_naps_under_a_millisecond_are_saved_up() -> None:
    clock = ManualClock()
    pacer = Pacer(rate=4096.0, now=clock.now, sleep=clock.sleep)

    for _ in range(6):
        pacer.wait(None)

    # Due at 0, 0.24, 0.49, 0.73, 0.98 and 1.22 ms: only the last is worth a nap.
    assert clock.naps == [5 / 4096]


def test_replaying_recorded_time_needs_a_time_in_every_event() -> None:
    with pytest.raises(ConfigError, match="expected a time"):
        Pacer(speed=1.0).wait(None)


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_or_speed_that_is_not_above_zero_is_refused(number: float) -> None:
    with pytest.raises(ConfigError, match="--rate: expected a number above 0"):
        Pacer(rate=number)
    with pytest.raises(ConfigError, match="--speed: expected a number above 0"):
        Pacer(speed=number)


def test_rate_and_speed_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="one of them, got both"):
        Pacer(rate=1.0, speed=1.0)


def test_paced_yields_all_events_in_order_when_they_are_due() -> None:
    clock = ManualClock()
    events = [Event(user="ana", item=f"film-{n}", type="click", ts=n * 1000) for n in range(3)]

    seen = [(event.item, clock.seconds) for event in paced(events, Pacer(speed=2, now=clock.now, sleep=clock.sleep))]

    assert seen == [("film-0", 0.0), ("film-1", 0.5), ("film-2", 1.0)]
