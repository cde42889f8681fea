"""When the next event is due: at a steady rate, at a multiple of recorded time, or at once."""

import time
from collections.abc import Callable, Iterable, Iterator

from stream.errors import ConfigError
from stream.wire.schema import Event

__all__ = ["Pacer", "paced"]

SHORTEST_SLEEP_SECONDS = 0.001
"""Below this sleeping costs more than it is long; the next waits make up for it."""


class Pacer:
    """Waits until each event is due. The schedule hangs on the start and not on the last event: it does not drift.

    An event that is overdue is let through at once, until the schedule is caught up with.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        speed: float | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Choose one schedule; without `rate` and `speed` nothing ever waits.

        Args:
            rate: events a second.
            speed: how many seconds of recorded time pass in one; 1 replays at the recorded pace.
            now: clock in seconds that never goes back.
            sleep: waits so many seconds.
        """
        if rate is not None and speed is not None:
            raise ConfigError("--rate and --speed: expected one of them, got both")
        for name, number in (("--rate", rate), ("--speed", speed)):
            if number is not None and not 0 < number < float("inf"):
                raise ConfigError(f"{name}: expected a number above 0, got {number}")
        self._rate, self._speed = rate, speed
        self._now, self._sleep = now, sleep
        self._start_seconds: float | None = None
        self._first_ts_ms: int | None = None
        self._num_events = 0

    def wait(self, ts_ms: int | None) -> None:
        """Return when the next event is due.

        Args:
            ts_ms: its event time; needed with `speed` only.

        Raises:
            ConfigError: `speed` was asked for and the event has no time.
        """
        if self._rate is None and self._speed is None:
            return
        if self._start_seconds is None:
            self._start_seconds = self._now()
        wait_seconds = self._start_seconds + self._due_seconds(ts_ms) - self._now()
        self._num_events += 1
        if wait_seconds >= SHORTEST_SLEEP_SECONDS:
            self._sleep(wait_seconds)

    def _due_seconds(self, ts_ms: int | None) -> float:
        """Return the due time, seconds after the start."""
        if self._rate is not None:
            return self._num_events / self._rate
        assert self._speed is not None
        if ts_ms is None:
            raise ConfigError("--speed: expected a time (ts) in every event, got one without; use --rate instead")
        if self._first_ts_ms is None:
            self._first_ts_ms = ts_ms
        return (ts_ms - self._first_ts_ms) / 1000 / self._speed


def paced(events: Iterable[Event], pacer: Pacer) -> Iterator[Event]:
    """Yield each event when it is due."""
    for event in events:
        pacer.wait(event.ts)
        yield event
