"""The two people of the demo who are not Millstream: one produces events, one subscribes to the lists."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice

import msgspec
import numpy as np

from producers import Event, EventSender, Pacer, paced
from stream.config.settings import Settings
from stream.errors import MillstreamError
from stream.log.kafka import TopicReader
from stream.wire.records import Record
from stream.wire.schema import SOURCE_PREFIX, Recommendation

__all__ = ["ListWatcher", "Replay"]

REMEMBERED_USERS = 2_000
POLL_SECONDS = 0.2
SOURCE_TIMESTAMP = f"{SOURCE_PREFIX}timestamp"


class Replay:
    """Sends events on a thread of its own.

    Args:
        settings: connection and topic, and what the worker accepts.
        events: what to send.
        pacer: when each event is due.
        limit: how many events at most; None: all.
    """

    def __init__(self, settings: Settings, events: Iterable[Event], pacer: Pacer, limit: int | None) -> None:
        self._settings, self._events, self._pacer, self._limit = settings, events, pacer, limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-producer", daemon=True)
        self._newest: OrderedDict[str, deque[Event]] = OrderedDict()
        self._lock = threading.Lock()
        self.num_sent = 0
        self.seconds = 0.0
        self.finished = threading.Event()
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what was sent is flushed. Returns when the thread has ended."""
        self._stop.set()
        self.finished.wait(30)

    def newest_of(self, user: str) -> list[Event]:
        """Return what this user did last, newest first."""
        with self._lock:
            return list(reversed(self._newest.get(user, ())))

    def _run(self) -> None:
        start = time.monotonic()
        try:
            settings = self._settings
            with EventSender(settings.kafka, settings.topics.events, limits=settings.events) as sender:
                for event in paced(islice(self._events, self._limit), self._pacer):
                    if self._stop.is_set():
                        break
                    sender.send(event)
                    self._remember(event)
                sender.flush()
        except Exception as error:  # shown by the main thread, which ends the demo
            self.error = error
        finally:
            self.seconds = time.monotonic() - start
            self.finished.set()

    def _remember(self, event: Event) -> None:
        with self._lock:
            self.num_sent += 1
            events = self._newest.pop(event.user, None) or deque(maxlen=5)
            events.append(event)
            self._newest[event.user] = events
            if len(self._newest) > REMEMBERED_USERS:
                self._newest.popitem(last=False)


class ListWatcher:
    """Subscribes to the lists, measures how fresh each is when it becomes visible, and keeps the newest.

    Freshness is from the timestamp that the producer gave the newest event which the list knows to the moment at which
    a read_committed subscriber has the list in hand.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-subscriber", daemon=True)
        self._freshness_ms: list[float] = []
        self._recent_ms: deque[float] = deque(maxlen=2_000)
        self._decoder = msgspec.json.Decoder(Recommendation)
        self.num_lists = 0
        self.newest: Recommendation | None = None
        self.error: Exception | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read what is committed by now, then end."""
        self._stop.set()
        self._thread.join(30)

    def freshness_seconds(self, *, recent: bool = False) -> dict[str, float | None]:
        """Return p50 and p99 of all lists, or of the newest 2,000; None while there are none."""
        values = np.array(self._recent_ms if recent else self._freshness_ms, np.float64) / 1000
        if not values.size:
            return {"p50": None, "p99": None}
        p50, p99 = np.percentile(values, [50, 99])
        return {"p50": round(float(p50), 4), "p99": round(float(p99), 4)}

    def _run(self) -> None:
        try:
            with TopicReader(self.settings.kafka, self.settings.topics.recommendations, role="demo") as reader:
                while not (self._stop.is_set() and reader.caught_up()):
                    records = reader.poll(POLL_SECONDS)
                    seen_ms = time.time_ns() // 1_000_000
                    for record in records:
                        self._take(record, seen_ms)
        except MillstreamError as error:
            self.error = error

    def _take(self, record: Record, seen_ms: int) -> None:
        if record.value is None:
            return
        self.num_lists += 1
        self.newest = self._decoder.decode(record.value)
        age_ms = float(seen_ms - int(dict(record.headers)[SOURCE_TIMESTAMP] or 0))
        self._freshness_ms.append(age_ms)
        self._recent_ms.append(age_ms)
