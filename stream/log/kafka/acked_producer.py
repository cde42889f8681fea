"""Writing events for somebody who waits: a call returns when all its records are acknowledged, or says they are not."""

import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from kafka import KafkaProducer, errors

from stream.config.settings import KafkaSettings
from stream.errors import BrokerUnreachable, MillstreamError, RefusedToStart
from stream.log.kafka.client import client_options, compression, connecting, explain
from stream.log.kafka.topic_admin import topic_names
from stream.wire.records import Headers

__all__ = ["AcknowledgedProducer", "NotAcknowledged", "NotWritten", "Place"]

RETRY_SECONDS = 1.0
"""After a failed connection nobody tries again for this long: those who wait meanwhile get the same answer at once."""


class NotWritten(MillstreamError):
    """Nothing of the call was written: there is no connection."""


class NotAcknowledged(MillstreamError):
    """Each record of the call may or may not be written, now or soon."""


class Place(NamedTuple):
    """Where a record was written."""

    partition: int
    offset: int


class AcknowledgedProducer:
    """Writes records to one topic (acks=all, idempotent), from any number of threads.

    A connection that failed is replaced by a new one at the next call: what is queued in an old one goes its own way to
    its deadline, and an idempotent producer that lost its sequence does not come back.

    Args:
        kafka: the connection.
        topic: where to; it must exist.
        timeout_seconds: longest time of a call.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        timeout_ms = int(timeout_seconds * 1000)
        # Half of the time for one attempt, so that there can be a second one.
        shorter = {
            "bootstrap_timeout_ms": min(kafka.bootstrap_timeout_ms, timeout_ms),
            "request_timeout_ms": min(kafka.request_timeout_ms, timeout_ms // 2),
        }
        self._kafka = kafka.model_copy(update=shorter)
        self._topic = topic
        self._lock = threading.Lock()
        self._producer: Any = None
        self._failed_at = -RETRY_SECONDS
        self._failure = ""

    def write(self, records: Sequence[tuple[bytes, bytes, Headers]]) -> list[Place]:
        """Write key, value and headers of each record, and return where they are.

        The key decides the partition, as in Kafka's own clients (murmur2); the timestamp is that of writing.

        Raises:
            NotWritten: there is no connection; nothing was sent.
            NotAcknowledged: not all were acknowledged in time.
        """
        deadline = time.monotonic() + self._timeout_seconds
        producer = self._connected()
        try:
            futures = [producer.send(self._topic, key=key, value=value, headers=head) for key, value, head in records]
            acknowledged = [future.get(timeout=max(0.0, deadline - time.monotonic())) for future in futures]
        except (errors.KafkaError, OSError) as error:
            self._leave(producer)
            raise NotAcknowledged(f"topic {self._topic}: {explain(error, self._kafka)}") from error
        return [Place(metadata.partition, metadata.offset) for metadata in acknowledged]

    def close(self) -> None:
        """Write what is queued and disconnect."""
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=self._timeout_seconds)

    def _connected(self) -> Any:
        asked_at = time.monotonic()
        with self._lock:
            if self._producer is None:
                if asked_at - self._failed_at < RETRY_SECONDS:
                    raise NotWritten(self._failure)
                try:
                    self._producer = self._open()
                except MillstreamError as error:
                    self._failed_at, self._failure = time.monotonic(), str(error)
                    raise NotWritten(self._failure) from error
            return self._producer

    def _open(self) -> Any:
        timeout_ms = int(self._timeout_seconds * 1000)
        if self._topic not in topic_names(self._kafka):  # the embedded broker would make it, with one partition
            raise RefusedToStart(f"topic {self._topic} does not exist: run 'millstream topics create'")
        with connecting(self._kafka):
            producer = KafkaProducer(
                **client_options(self._kafka, "serve"),
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                compression_type=compression(self._kafka),
                delivery_timeout_ms=timeout_ms,
                max_block_ms=timeout_ms,
                linger_ms=2,
                max_request_size=16_777_216,
            )
            if producer.partitions_for(self._topic):
                return producer
        raise BrokerUnreachable(f"topic {self._topic}: the brokers named no partitions")

    def _leave(self, producer: Any) -> None:
        with self._lock:
            if self._producer is not producer:
                return
            self._producer = None
        # Others may still wait for what they sent with it, and closing it waits as long.
        threading.Thread(target=producer.close, kwargs={"timeout": self._timeout_seconds}, daemon=True).start()
