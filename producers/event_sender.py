"""Events leave for Kafka: keyed by user, by an idempotent producer, so that a retry repeats and reorders nothing."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from producers.event_encoding import DEFAULT_LIMITS, OutgoingRecord, encode_record
from stream.config.settings import EventSettings, KafkaSettings
from stream.log.kafka import EventProducer
from stream.wire.schema import Event

__all__ = ["EventSender"]


class EventSender:
    """Sends events to one topic. Use it as a context manager: leaving it waits for the last acknowledgement.

    Threads may share one.

    The record's timestamp is the time of sending and never the event's: Kafka deletes by record timestamp, and a
    replay of last year's events would be gone before it is read.
    """

    def __init__(
        self,
        kafka: KafkaSettings | None = None,
        topic: str = "events",
        *,
        limits: EventSettings = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connect.

        Args:
            kafka: how to reach the brokers; without it 127.0.0.1:9092.
            topic: must exist; `millstream topics create` makes it.
            limits: what the worker accepts, when its settings were changed.
            clock: seconds since the Unix epoch; an event from too far ahead of it is a bad one.

        Raises:
            BrokerUnreachable: no broker answered.
        """
        self.num_sent = 0
        self.num_bytes = 0
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._producer = EventProducer(kafka or KafkaSettings(), topic, role="producer")

    def send(self, event: Event) -> None:
        """Queue one event; blocks while the buffer is full.

        Raises:
            BadEvent: the worker would not learn from it. Nothing was queued.
            MillstreamError: an earlier event could not be written for good.
        """
        self.send_record(encode_record(event, self._limits, now_ms=int(self._clock() * 1000)))

    def send_record(self, record: OutgoingRecord) -> None:
        """Queue a record as it is, for those who encode themselves. What is no event ends in the dead letters."""
        self._producer.send(record.key, record.value)
        with self._lock:
            self.num_sent += 1
            self.num_bytes += len(record.value)

    @property
    def num_delivered(self) -> int:
        """How many events the brokers have acknowledged."""
        return self._producer.num_delivered

    def flush(self) -> None:
        """Wait until everything queued so far is acknowledged."""
        self._producer.flush()

    def close(self) -> None:
        """Flush and disconnect."""
        self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
