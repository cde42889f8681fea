"""Keeps the view up to date: reads the topic of lists from its beginning, then what comes, for ever."""

import logging
import threading
import time

from stream.config.settings import Settings
from stream.errors import BrokerUnreachable, MillstreamError
from stream.http.api.materialized_lists import ListView
from stream.log.kafka import TopicReader
from stream.logs import log_event
from stream.telemetry.health import Verdict
from stream.wire.formats import NewerFormat

__all__ = ["Follower"]

POLL_SECONDS = 0.25
LAG_INTERVAL_SECONDS = 1.0
LAG_TIMEOUT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
STALL_SECONDS = 120.0
"""A loop that has not gone round for this long is stuck: longer than any call of the client may take."""
STOP_SECONDS = 10.0


class Follower:
    """A thread that fills a view; it outlives brokers that go away.

    Args:
        settings: connection and topic names.
        view: what to fill.
    """

    def __init__(self, settings: Settings, view: ListView) -> None:
        self._settings = settings
        self._view = view
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="millstream-follower", daemon=True)
        self._phase = "connecting to the brokers"
        self._beat = self._answered_at = time.monotonic()
        self._is_silent = True
        self._refusal = ""
        self.has_view = False
        """Whether the view was whole once: from then on it answers, be it with what it knew."""
        self.lag_records = 0
        """Offsets between what was read and the end, when it was last asked for."""
        self.num_reads = 0
        """How often the topic was begun from its beginning."""

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the call in hand."""
        self._phase = "stopping"
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def live(self) -> Verdict:
        """Return whether the process should go on; brokers that are away are no reason to kill it."""
        if self._refusal:
            return Verdict(False, self._refusal)
        age = time.monotonic() - self._beat
        if not self._thread.is_alive() and not self._stop.is_set():
            return Verdict(False, "the thread that reads the lists has ended: start again and look at the log")
        if age > STALL_SECONDS:
            return Verdict(False, f"the thread that reads the lists has not gone round for {age:.0f} s")
        return Verdict(True, "alive")

    def ready(self) -> Verdict:
        """Return whether lists are whole and fresh."""
        if self._refusal:
            return Verdict(False, self._refusal)
        silent_seconds = self.silent_seconds()
        if self._stop.is_set() or not self.has_view:
            return Verdict(False, self._phase)
        if silent_seconds > self._settings.serve.stale_after_seconds:
            return Verdict(False, f"the brokers have not answered for {silent_seconds:.0f} s; lists are as of then")
        live = self.live()
        return live if not live.ok else Verdict(True, "ready")

    def silent_seconds(self) -> float:
        """Return for how long the brokers have not answered; 0 when the last question was answered."""
        return time.monotonic() - self._answered_at if self._is_silent else 0.0

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._refusal:
                self._connect_and_follow()
        except Exception:
            logging.getLogger("millstream").exception("follower_failed")

    def _connect_and_follow(self) -> None:
        """Read from the beginning until something goes wrong, and wait a moment then."""
        kafka, topic = self._settings.kafka, self._settings.topics.recommendations
        self._beat = time.monotonic()
        try:
            with TopicReader(kafka, topic, role="serve-view") as reader:
                self._answered()
                self._follow(reader)
        except NewerFormat as error:  # reading it again gives the same: whoever upgrades this process starts it again
            self._refusal = str(error)
            log_event(logging.ERROR, "view_refused", has_view=self.has_view, reason=str(error))
        except MillstreamError as error:
            self._is_silent = True
            self._phase = f"waiting for the brokers: {error}" if isinstance(error, BrokerUnreachable) else str(error)
            log_event(logging.WARNING, "view_interrupted", has_view=self.has_view, reason=str(error))
            self._stop.wait(RECONNECT_SECONDS)

    def _follow(self, reader: TopicReader) -> None:
        self._view.begin()
        self.num_reads += 1
        self._phase = "reading the lists that are there"
        is_whole, asked_at = False, 0.0
        while not self._stop.is_set():
            self._beat = time.monotonic()
            self._view.apply(reader.poll(POLL_SECONDS))
            if not is_whole and reader.has_passed_start():
                is_whole = self._show()
            if time.monotonic() - asked_at >= LAG_INTERVAL_SECONDS:
                asked_at = time.monotonic()
                self._ask_lag(reader)

    def _show(self) -> bool:
        self._view.swap()
        self.has_view = True
        log_event(logging.INFO, "view_ready", users=len(self._view), bytes=self._view.num_bytes)
        return True

    def _ask_lag(self, reader: TopicReader) -> None:
        try:
            lag = reader.lag(LAG_TIMEOUT_SECONDS)
        except BrokerUnreachable:
            self._is_silent = True  # since the last answer; the reader connects again by itself
            return
        self._answered()
        self.lag_records = sum(max(0, records) for records in lag.values())
        if min(lag.values(), default=0) < 0:
            raise MillstreamError(
                f"topic {self._settings.topics.recommendations}: it is shorter than it was (made anew, or the brokers "
                "lost a part): reading it from its beginning"
            )

    def _answered(self) -> None:
        self._is_silent = False
        self._answered_at = time.monotonic()
