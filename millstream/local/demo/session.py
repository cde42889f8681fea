"""One run of the demo: start everything, wait until every event has come through, end everything."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from millstream.diagnosis.scrape import Scrape
from millstream.diagnosis.worker_client import is_ready, scrape
from millstream.local.demo.traffic import ListWatcher, Replay
from millstream.local.embedded_broker import HOST, EmbeddedBroker, free_port
from millstream.local.guarded_process import GuardedProcess
from producers import Event, Pacer
from producers.item_titles import send_titles
from stream.config.settings import Settings
from stream.errors import MillstreamError
from stream.log.kafka import ensure_topics

__all__ = ["DemoSession"]

READY_DEADLINE_SECONDS = 120.0
TICK_SECONDS = 0.25
LOG_TAIL_BYTES = 4_000


class DemoSession:
    """Broker, topics, worker process, producer and subscriber, in a `with` block that leaves nothing behind.

    Args:
        settings: settings of the worker; connection and port are replaced by those of this session.
        settings_file: the file the worker process is given, None: none.
        overrides: `section.key=value` texts the worker process is given.
    """

    def __init__(self, settings: Settings, settings_file: Path | None, overrides: list[str]) -> None:
        self._settings_file, self._overrides = settings_file, overrides
        self._folder = tempfile.TemporaryDirectory(prefix="millstream-demo-")
        self._broker = EmbeddedBroker()
        self._worker: GuardedProcess | None = None
        self._log: IO[bytes] | None = None
        self._wanted = settings
        self.port = 0
        self.settings = settings
        self.newest_scrape: Scrape | None = None

    @property
    def url(self) -> str:
        """Where the worker's port is asked."""
        return f"http://{HOST}:{self.port}"

    def start(self, say: Callable[[str], None]) -> None:
        """Start broker, topics and worker; `say` is told each step.

        Raises:
            MillstreamError: one of them did not start; the message holds the worker's last words.
        """
        say("starting the embedded broker")
        self._broker.start()
        connection = self._wanted.kafka.model_copy(update={"bootstrap_servers": self._broker.bootstrap_servers})
        self.settings = self._wanted.model_copy(update={"kafka": connection})
        say("creating the topics")
        ensure_topics(self.settings)
        say("starting the worker (loads torch)")
        self.port = free_port()
        self._start_worker()
        deadline = time.monotonic() + READY_DEADLINE_SECONDS
        while not is_ready(self.url):
            self._check_worker()
            if time.monotonic() > deadline:
                raise MillstreamError(f"the worker was not ready in {READY_DEADLINE_SECONDS:g} s: {self._last_words()}")
            time.sleep(TICK_SECONDS)

    def replay(
        self,
        events: Iterable[Event],
        titles: Mapping[str, str],
        pacer: Pacer,
        limit: int | None,
        on_tick: Callable[[Replay, ListWatcher, Scrape], None],
    ) -> tuple[Replay, ListWatcher]:
        """Send the events and return when every one has come through; Ctrl-C sends no more and waits for the rest.

        Args:
            events: what to send.
            titles: item to title, for the page.
            pacer: when each event is due.
            limit: how many events at most; None: all.
            on_tick: told how it goes, a few times a second.

        Raises:
            MillstreamError: producer, worker or subscriber failed.
        """
        replay, watcher = Replay(self.settings, events, pacer, limit), ListWatcher(self.settings)
        send_titles(titles, self.settings.kafka, self.settings.topics.items)
        watcher.start()
        replay.start()
        try:
            self._until(lambda: replay.finished.is_set(), replay, watcher, on_tick)
        except KeyboardInterrupt:
            replay.stop()
        self._until(lambda: self._num_through() >= replay.num_sent, replay, watcher, on_tick)
        self._end_worker()
        watcher.stop()
        return replay, watcher

    def _until(
        self,
        done: Callable[[], bool],
        replay: Replay,
        watcher: ListWatcher,
        on_tick: Callable[[Replay, ListWatcher, Scrape], None],
    ) -> None:
        while True:
            for part in (replay, watcher):
                if part.error is not None:
                    raise part.error
            self._check_worker()
            self.newest_scrape = scrape(self.url) or self.newest_scrape
            if self.newest_scrape is not None:
                on_tick(replay, watcher, self.newest_scrape)
            if done():
                return
            time.sleep(TICK_SECONDS)

    def last_commit_seconds(self, start: float) -> float:
        """Return the seconds from `start` (monotonic) to the worker's last commit."""
        assert self.newest_scrape is not None
        committed = self.newest_scrape.value("millstream_last_commit_timestamp_seconds")
        return max(0.0, committed - (time.time() - (time.monotonic() - start)))

    def _num_through(self) -> int:
        if self.newest_scrape is None:
            return 0
        read = self.newest_scrape.value("millstream_events_total")
        return int(read + self.newest_scrape.value("millstream_dead_letters_total"))

    def _start_worker(self) -> None:
        self._log = (Path(self._folder.name) / "worker.log").open("w+b")
        command = [sys.executable, "-m", "millstream", "run", "--bootstrap-servers", self._broker.bootstrap_servers]
        if self._settings_file is not None:
            command += ["--config", str(self._settings_file)]
        checkpoints = f"checkpoints.url={Path(self._folder.name) / 'checkpoints'}"
        for override in (checkpoints, *self._overrides, f"metrics.host={HOST}", f"metrics.port={self.port}"):
            command += ["--set", override]
        environment = {name: value for name, value in os.environ.items() if not _is_replaced(name)}
        self._worker = GuardedProcess(command, stdout=self._log, env=environment)

    def _check_worker(self) -> None:
        assert self._worker is not None
        status = self._worker.poll()
        if status is not None:
            raise self._worker_ended(status)

    def _end_worker(self) -> None:
        # Gauges are refreshed a few times a second: the last word is the one after the last batch.
        time.sleep(1.0)
        self.newest_scrape = scrape(self.url) or self.newest_scrape
        assert self._worker is not None
        self._worker.signal(signal.SIGTERM)
        status = self._worker.wait(30)
        if status != 0:
            raise self._worker_ended(status)

    def _worker_ended(self, status: int | None) -> MillstreamError:
        error = MillstreamError(f"the worker ended with status {status}: {self._last_words()}")
        error.exit_code = status if status is not None and status > 0 else 1  # its reason is ours
        return error

    def _last_words(self) -> str:
        assert self._log is not None
        text = Path(self._log.name).read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
        return text or "it said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._broker.stop()
        if self._log is not None:
            self._log.close()
        self._folder.cleanup()


def _is_replaced(variable: str) -> bool:
    """Return True for environment settings that would send the demo's worker to somebody's real brokers."""
    return variable.startswith("MILLSTREAM_KAFKA_")
