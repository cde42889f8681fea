"""Sending events: an idempotent producer that never loses a record in silence."""

import threading
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer

from stream.config.settings import KafkaSettings
from stream.errors import MillstreamError, RefusedToStart
from stream.log.kafka.client import client_options, compression, connecting, explain
from stream.log.kafka.topic_admin import topic_names

__all__ = ["EventProducer"]


class EventProducer:
    """Sends records to one topic, in the order of the calls per key (acks=all, idempotent).

    Args:
        kafka: the connection.
        topic: where to; it must exist.
        role: ends the client id.

    Raises:
        BrokerUnreachable: no broker answered in `kafka.bootstrap_timeout_ms`.
        RefusedToStart: the topic does not exist.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, role: str = "producer") -> None:
        self.topic = topic
        self._kafka = kafka
        self._lock = threading.Lock()
        self._num_delivered = 0
        self._failure: BaseException | None = None
        if topic not in topic_names(
            kafka
        ):  # a broker that makes topics by itself would make it with the wrong partitions
            raise RefusedToStart(
                f"broker {kafka.bootstrap_servers}: topic {topic} does not exist: run 'millstream topics create'"
            )
        with connecting(kafka):
            self._producer = KafkaProducer(
                **client_options(kafka, role),
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                compression_type=compression(kafka),
                batch_size=262_144,
                linger_ms=5,
                max_request_size=16_777_216,
            )

    @property
    def num_delivered(self) -> int:
        """Records that the broker has acknowledged."""
        return self._num_delivered

    def send(self, key: bytes | None, value: bytes, timestamp_ms: int | None = None) -> None:
        """Queue one record; blocks while the buffer is full.

        Args:
            key: the user id, UTF-8; decides the partition.
            value: JSON of a `stream.wire.schema.Event`.
            timestamp_ms: the record's timestamp; None: now. Leave it at None also when old events are replayed: the
                broker's retention goes by it and may delete a record with an old one at once.

        Raises:
            MillstreamError: this or an earlier record could not be delivered.
        """
        self._raise_failure()
        with connecting(self._kafka):
            future = self._producer.send(self.topic, value=value, key=key, timestamp_ms=timestamp_ms)
        future.add_callback(self._delivered)
        future.add_errback(self._failed)

    def flush(self) -> None:
        """Wait until everything that was sent is acknowledged.

        Raises:
            MillstreamError: a record could not be delivered.
        """
        with connecting(self._kafka):
            self._producer.flush()
        self._raise_failure()

    def close(self) -> None:
        """Send what is queued and disconnect."""
        self._producer.close(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _delivered(self, _: Any) -> None:
        with self._lock:
            self._num_delivered += 1

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            reason = explain(self._failure, self._kafka)
            raise MillstreamError(f"topic {self.topic}: a record was not delivered: {reason}") from self._failure
