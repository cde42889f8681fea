"""Sending dead letters again: events and their receipts in transactions of their own, one sender at a time.

The guards are those of `stream/log/kafka/transport.py`, for the reasons in docs/decisions/0002.
"""

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer, errors

from stream.config.settings import Settings
from stream.errors import FencedError, MillstreamError, RefusedToStart, TransactionInDoubt
from stream.log.kafka.client import client_options, compression, connecting, explain
from stream.log.kafka.deadline import DeadlineThread
from stream.log.kafka.ownership import seconds_awake_or_asleep, was_replaced
from stream.wire.records import OutRecord

__all__ = ["ReplayTransactions"]

ABORT_DEADLINE_SECONDS = 5.0
ROOM_BYTES = 16_384
"""Room for headers and framing of a record whose value is as long as the topics take."""


class ReplayTransactions:
    """Writes records all or nothing. Opening one ends the one that is open elsewhere for the same worker.

    Args:
        settings: connection, and the worker whose letters they are: the transactional id is `<that of it>-dlq-replay`.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: this user may not do that.
    """

    def __init__(self, settings: Settings) -> None:
        self._kafka, self._worker = settings.kafka, settings.worker
        self._transactional_id = f"{self._worker.transactional_id}-dlq-replay"
        with connecting(self._kafka):
            self._producer: Any = KafkaProducer(
                **client_options(self._kafka, "replay"),
                transactional_id=self._transactional_id,
                transaction_timeout_ms=self._worker.transaction_timeout_ms,
                delivery_timeout_ms=self._worker.delivery_timeout_ms,
                max_block_ms=self._worker.delivery_timeout_ms,
                compression_type=compression(self._kafka),
                allow_auto_create_topics=False,
                max_request_size=settings.topics.max_message_bytes + ROOM_BYTES,
            )
            self._producer._transaction_manager._supports_epoch_bump = lambda: False
            self._producer.init_transactions()
        self._owned = self._identity()
        self._deadline = DeadlineThread("millstream-replay")
        self._is_broken = False

    def num_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        with connecting(self._kafka):
            return len(self._producer.partitions_for(topic))

    def commit(self, records: Sequence[OutRecord]) -> None:
        """Write the records, all or nothing; `source_partition` is the partition that each goes to.

        Raises:
            FencedError: another replay took over; nothing was written.
            RefusedToStart: the brokers do not take it; nothing was written.
            TransactionInDoubt: something failed or took too long. In all cases this object is finished.
        """
        assert not self._is_broken, "a producer is not used again after an error"
        begun = seconds_awake_or_asleep()
        try:
            self._deadline.run(lambda: self._transaction(records), self._worker.commit_deadline_seconds)
        except KeyboardInterrupt:
            self._is_broken = True
            raise
        except Exception as error:
            self._is_broken = True
            with suppress(Exception):  # what is not aborted here is when the next replay begins
                self._deadline.run(self._producer.abort_transaction, ABORT_DEADLINE_SECONDS)
            raise self._told(error, seconds_awake_or_asleep() - begun) from error

    def _transaction(self, records: Sequence[OutRecord]) -> None:
        identity = self._identity()
        self._producer.begin_transaction()
        futures = [
            self._producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                timestamp_ms=record.timestamp_ms,
                partition=record.source_partition,
            )
            for record in records
        ]
        self._producer.flush()
        for future in futures:
            future.get(timeout=0)
        self._expect(identity)
        self._producer.commit_transaction()
        self._expect(identity)

    def _identity(self) -> tuple[int, int]:
        current = self._producer._transaction_manager.producer_id_and_epoch
        return current.producer_id, current.epoch

    def _expect(self, identity: tuple[int, int]) -> None:
        if self._identity() != identity:
            raise errors.ProducerFencedError(f"producer id and epoch changed from {identity} to {self._identity()}")

    def _told(self, error: Exception, open_seconds: float) -> Exception:
        if not isinstance(error, errors.KafkaError | OSError):
            return error
        told: MillstreamError = explain(error, self._kafka)
        if isinstance(told, FencedError) or self._was_replaced(error, open_seconds):
            return FencedError("another 'millstream dlq replay' for this worker has taken over; this one stops")
        if isinstance(told, RefusedToStart):  # the same again would end the same way
            return told
        return TransactionInDoubt(f"a transaction is there wholly or not at all ({told}): run the same command again")

    def _was_replaced(self, error: Exception, open_seconds: float) -> bool:
        """Return whether a refused epoch is that of a replay that another one followed, as far as the brokers tell."""
        if not isinstance(error, errors.InvalidProducerEpochError):
            return False
        timed_out = open_seconds * 1000 > self._worker.transaction_timeout_ms
        with suppress(MillstreamError):
            return was_replaced(self._kafka, self._transactional_id, self._owned, timed_out=timed_out)
        return False

    def close(self) -> None:
        """Disconnect; an open transaction is rolled back."""
        with suppress(errors.KafkaError):
            self._producer.close(timeout=0 if self._is_broken else 5)
        self._deadline.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
