"""A worker without Kafka: a pipeline on a log in memory and the page beside it, as the worker's loop drives them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream.config.settings import Settings
from stream.http.page import Page
from stream.http.probe_server import HttpServer, create_app
from stream.log.memory import MemoryLog
from stream.pipeline import BatchReport, Clocks
from stream.telemetry.health import Health
from stream.telemetry.metrics import Metrics
from tests.support.events import NOW_MS, ManualClock, event_bytes, memory_pipeline, small_settings

__all__ = ["NUM_ITEMS", "NUM_USERS", "WAIT_MS", "Worked"]

NUM_USERS, NUM_ITEMS = 5, 12
WAIT_MS = 750
"""From every event's timestamp to its commit, by the clock of the test."""


class Worked:
    """A pipeline with batches of 8 and lists of 3, and the page.

    Args:
        sections: other settings, see `small_settings`.
    """

    def __init__(self, **sections: dict[str, Any]) -> None:
        self.settings: Settings = small_settings(**sections)
        self.clock = ManualClock()
        self.log = MemoryLog(2, lambda: NOW_MS)
        self.pipeline = memory_pipeline(self.log, self.settings, clocks=Clocks(wall_ms=lambda: NOW_MS + WAIT_MS))
        self.health = Health(60.0, self.clock)
        self.health.started()
        clocks = Clocks(self.clock, lambda: NOW_MS + int(1000 * self.clock.seconds))
        self.page = Page(self.settings, self.health, clocks)
        self.lag = {0: 3, 1: 4}

    def send(self, num_events: int) -> None:
        """Put events into the log: every user walks round the same circle of items."""
        for number in range(num_events):
            user = f"u{number % NUM_USERS}"
            value = event_bytes(user, f"i{number % NUM_ITEMS}", ts=NOW_MS + number)
            self.log.produce(value, partition=number % NUM_USERS % 2, key=user.encode())

    def round(self) -> BatchReport | None:
        """Go round once, as the worker does."""
        report = self.pipeline.run_once()
        self.health.beat({}, {})
        self.page.after_round(self.pipeline, report, self.lag)
        return report

    def drain(self) -> int:
        """Go round until there is nothing to read; return how many batches there were."""
        num_batches = 0
        while self.round() is not None:
            num_batches += 1
        return num_batches

    @contextmanager
    def served(self, *, seconds_per_round: float = 0.0) -> Iterator[int]:
        """Serve the page, go round all the time, and lend the port; a round takes so long by the clock of the page."""
        server = HttpServer(create_app(Metrics(), self.health, self.page.routes()), self.settings.metrics)
        server.start()
        try:
            with self._going_round(seconds_per_round):
                yield server.port
        finally:
            self.page.close()
            server.stop()

    @contextmanager
    def _going_round(self, seconds_per_round: float) -> Iterator[None]:
        """Go round on a thread, which owns the state meanwhile."""
        ended = threading.Event()

        def go() -> None:
            while not ended.wait(0.01):
                self.clock.advance(seconds_per_round)
                self.round()

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
