"""The worker's side of Kafka: read committed events by hand-assigned partitions, commit micro-batches in transactions.

The guards around the client's traps are listed in docs/decisions/0002; each is marked here where it stands.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from kafka import ConsumerGroupMetadata, KafkaProducer, OffsetAndMetadata, TopicPartition, errors

from stream.config.settings import Settings
from stream.errors import FencedError, RefusedToStart, TransactionInDoubt
from stream.failpoints import Watch, unwatched
from stream.log.kafka.answers import Answers, HeldBack
from stream.log.kafka.client import client_options, compression, connecting, explain
from stream.log.kafka.deadline import DeadlineThread
from stream.log.kafka.ownership import seconds_awake_or_asleep, was_replaced
from stream.log.kafka.start_offsets import start_offsets
from stream.log.kafka.topic_admin import max_message_bytes, missing_topics
from stream.log.kafka.topic_identity import TopicIdentity
from stream.log.kafka.topic_reader import newest_record, open_consumer, poll_in_order, topic_partitions
from stream.log.protocols import NO_LIMIT
from stream.logs import log_event
from stream.wire.journal_record import ForeignRecords
from stream.wire.records import OutRecord, Record, until_bytes
from stream.wire.schema import JournalEntry

__all__ = ["KafkaTransport"]

ABORT_DEADLINE_SECONDS = 5.0
ASK_DEADLINE_SECONDS = 10.0
TIMED_OUT_RATIO = 0.9
"""Of the transaction's timeout: the coordinator's clock is another one, and looks from time to time."""
RECORD_OVERHEAD_BYTES = 16_384
"""Room for headers, key and framing of a dead letter below the topic's limit."""


class KafkaTransport:
    """One worker's hold on the events topic: exclusive from `start` on.

    Args:
        settings: all settings.
        watch: see `stream.failpoints`.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: topics are missing.
    """

    def __init__(self, settings: Settings, watch: Watch = unwatched) -> None:
        self._settings = settings
        self._watch = watch
        self._kafka = settings.kafka
        self._foreign = ForeignRecords(settings.topics.events)
        self._ahead: list[Record] = []
        self._broken = False
        self._producer: Any = None
        self._begun_at, self._began_as = 0.0, (-1, -1)
        if missing := missing_topics(settings):
            raise RefusedToStart(
                f"missing on {self._kafka.bootstrap_servers}: topic {', '.join(missing)}. "
                "Create what is missing with 'millstream topics create'"
            )
        self._max_record_bytes = (
            max_message_bytes(self._kafka, settings.topics.dead_letters, settings.topics.max_message_bytes)
            - RECORD_OVERHEAD_BYTES
        )
        self._consumer = open_consumer(
            self._kafka,
            "consumer",
            group_id=settings.worker.group_id,
            max_poll_records=settings.batching.max_events,
            max_partition_fetch_bytes=4_194_304,
        )
        with connecting(self._kafka):
            self._partitions = topic_partitions(self._consumer, settings.topics.events)
        self._topic_identity = TopicIdentity(self._consumer, settings)
        self._answers = Answers(self._consumer, self._partitions, settings)
        self._deadline = DeadlineThread("millstream-transaction")

    def start(self) -> JournalEntry | None:
        """Take over: end the worker that holds the log now, and begin to read where it committed last.

        Returns:
            The newest journal entry for the events topic, or None when there is none.

        Raises:
            BrokerUnreachable: no broker answered.
            RefusedToStart: the committed offsets cannot be continued from.
        """
        # The order matters: initialising the producer fences a worker that still runs under this id and ends its open
        # transaction. Only then are journal and offsets final.
        self._producer = self._open_producer()
        self._watch("taken_over")
        newest = newest_record(self._kafka, self._settings.topics.journal, self._is_ours)
        entry = None if newest is None else self._foreign.entry(newest)
        if self._foreign.count:
            hint = "another program writes to the journal topic: only the worker may (docs/security.md)"
            log_event(logging.WARNING, "foreign_journal_records", count=self._foreign.count, hint=hint)
        with connecting(self._kafka):
            self._consumer.assign(self._partitions)
            try:
                begin = start_offsets(self._consumer, self._partitions, entry, self._settings)
            except RefusedToStart:
                self._expect_ownership()
                raise
            for partition, offset in begin.offsets.items():
                self._consumer.seek(partition, offset)
        self._lag: dict[int, int] = {}
        if not begin.is_committed:  # or a restart before the first batch would choose its beginning anew
            self.commit([], self.positions())
        return entry

    def _expect_ownership(self) -> None:
        """Commit the group's offsets as they are: refused to a worker that was replaced while it read two things."""
        committed = {
            p.partition: offset for p in self._partitions if (offset := self._consumer.committed(p)) is not None
        }
        if committed:
            self.commit([], committed)

    def _is_ours(self, record: Record) -> bool:
        return self._foreign.entry(record) is not None

    def _open_producer(self) -> Any:
        worker = self._settings.worker
        with connecting(self._kafka):
            producer = KafkaProducer(
                **client_options(self._kafka, "transactions"),
                transactional_id=worker.transactional_id,
                transaction_timeout_ms=worker.transaction_timeout_ms,
                delivery_timeout_ms=worker.delivery_timeout_ms,
                max_block_ms=worker.delivery_timeout_ms,
                compression_type=compression(self._kafka),
                allow_auto_create_topics=False,
                batch_size=262_144,
                linger_ms=5,
                max_request_size=self._settings.topics.max_message_bytes + RECORD_OVERHEAD_BYTES,
            )
            # A worker that was replaced amid its records would answer the refusal of its old epoch by asking for a new
            # one, and so end the worker that replaced it, where the brokers let it.
            producer._transaction_manager._supports_epoch_bump = lambda: False
            producer.init_transactions()
        return producer

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions of the events topic that this worker owns, ascending."""
        return tuple(partition.partition for partition in self._partitions)

    @property
    def max_record_bytes(self) -> int:
        """Largest record that the dead-letter topic takes."""
        return self._max_record_bytes

    @property
    def num_foreign_journal_records(self) -> int:
        """Records of the journal topic that are no entries, as far as the start looked back."""
        return self._foreign.count

    def positions(self) -> dict[int, int]:
        """Return the next offset to be read of every partition; only after `start`."""
        positions = {partition.partition: self._consumer.position(partition) for partition in self._partitions}
        for record in reversed(self._ahead):  # the first one of a partition is set last
            positions[record.partition] = record.offset
        return positions

    def poll(self, max_records: int, timeout_seconds: float, max_bytes: int = NO_LIMIT) -> list[Record]:
        """Return at most `max_records` next records, per partition in offset order; may wait for the first.

        The one that comes to `max_bytes` is the last one; what the client gave beyond it comes next.

        Raises:
            RefusedToStart: a record that is needed is no longer in the log.
        """
        try:
            if not self._ahead:
                self._ahead = self._read(max_records, timeout_seconds)
        except (errors.OffsetOutOfRangeError, errors.NoOffsetForPartitionError, errors.LogTruncationError) as error:
            raise RefusedToStart(
                f"topic {self._settings.topics.events}: records that are next are no longer in the log ({error}): "
                "retention took them, or the topic was made anew. Events may be lost. Look at the topic, then reset "
                f"the offsets of group {self._settings.worker.group_id}"
            ) from error
        except errors.KafkaError as error:
            raise explain(error, self._kafka) from error
        taken = until_bytes(self._ahead[:max_records], max_bytes)
        records, self._ahead = self._ahead[:taken], self._ahead[taken:]
        return records

    def _read(self, max_records: int, timeout_seconds: float) -> list[Record]:
        topic = self._topic_identity
        topic.look()
        if topic.is_doubtful:
            if self._answers.silent_seconds() > 0:  # nobody can be asked: nothing is read until somebody can
                time.sleep(timeout_seconds)
                return []
            topic.expect_the_same_records()
        records = poll_in_order(self._consumer, timeout_seconds, max_records)
        topic.look()
        if topic.is_doubtful:  # it stood still while it polled; what came may be of before or after
            topic.expect_the_same_records()
        if records:
            self._answers.came()
            topic.remember(records)
        return records

    def commit(self, records: Sequence[OutRecord], offsets: Mapping[int, int]) -> None:
        """Write the records and commit the offsets, all or nothing.

        Raises:
            FencedError: another worker took over; nothing was written.
            TransactionInDoubt: something failed or took too long. In both cases the transport is finished.
        """
        if self._broken:
            raise TransactionInDoubt("this connection had an error and must not be used again: start the worker anew")
        deadline = self._settings.worker.commit_deadline_seconds
        self._topic_identity.look()
        if self._topic_identity.is_doubtful and records:
            self._topic_identity.expect_the_same_records()
        try:
            self._deadline.run(lambda: self._transaction(records, offsets), deadline)
            self._answers.came()
        except KeyboardInterrupt:
            self._broken = True  # somebody wants to leave at once: the next worker rolls the transaction back
            raise
        except Exception as error:
            self._broken = True  # guard 3: offsets of a failed transaction leak into the producer's next one
            self._abort()
            raise self._doubt(error) from error

    def _transaction(self, records: Sequence[OutRecord], offsets: Mapping[int, int]) -> None:
        producer = self._producer
        identity = self._began_as = self._identity()
        self._begun_at = seconds_awake_or_asleep()
        producer.begin_transaction()
        self._watch("transaction_begun")
        futures = [
            producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                timestamp_ms=record.timestamp_ms,
                partition=self._partition_for(record),
            )
            for record in records
        ]
        self._watch("records_sent")
        producer.flush()
        for future in futures:  # guard 1: a record past its delivery timeout does not fail the commit by itself
            future.get(timeout=0)
        self._watch("records_flushed")
        self._expect(identity)
        producer.send_offsets_to_transaction(
            {TopicPartition(self._settings.topics.events, p): OffsetAndMetadata(o) for p, o in offsets.items()},
            ConsumerGroupMetadata(self._settings.worker.group_id),
        )
        self._watch("offsets_sent")
        self._expect(identity)  # guard 4: nothing is in flight here, and no new epoch may have begun
        producer.commit_transaction()
        self._expect(identity)
        self._watch("transaction_committed")

    def _partition_for(self, record: OutRecord) -> int | None:
        """Return None for a record with a key: the client places it as Kafka's own clients do.

        One without a key gets its place here. The client would draw one by lot, another one at the next attempt, and
        now and then add a partition to the transaction that it then writes nothing to.
        """
        if record.key is not None or record.source_partition is None:
            return None
        return record.source_partition % len(self._producer.partitions_for(record.topic))

    def _identity(self) -> tuple[int, int]:
        # The client shows these nowhere else; it is pinned.
        current = self._producer._transaction_manager.producer_id_and_epoch
        return current.producer_id, current.epoch

    def _expect(self, identity: tuple[int, int]) -> None:
        if self._identity() != identity:
            raise errors.ProducerFencedError(f"producer id and epoch changed from {identity} to {self._identity()}")

    def _abort(self) -> None:
        # Best effort: what is not aborted here is aborted when the next worker with this id initialises.
        try:
            self._deadline.run(self._producer.abort_transaction, ABORT_DEADLINE_SECONDS)
        except Exception:
            return

    def _doubt(self, error: Exception) -> Exception:
        if not isinstance(error, errors.KafkaError | OSError):  # TimeoutError is an OSError
            return error  # ours to repair: starting again would only repeat it
        explained = explain(error, self._kafka)
        if isinstance(explained, TransactionInDoubt) and self._was_replaced():
            return explain(errors.ProducerFencedError(), self._kafka)
        if isinstance(explained, FencedError | RefusedToStart | TransactionInDoubt):
            return explained
        return TransactionInDoubt(
            f"a transaction failed and is rolled back ({type(error).__name__}: {error}): start the worker again, "
            "it continues at the last commit"
        )

    def _was_replaced(self) -> bool:
        """Ask whether somebody has our place; where the brokers do not tell, the next start will see."""
        open_seconds = seconds_awake_or_asleep() - self._begun_at
        timed_out = open_seconds * 1000 >= self._settings.worker.transaction_timeout_ms * TIMED_OUT_RATIO
        name = self._settings.worker.transactional_id
        told: list[bool] = []

        def ask() -> None:
            told.append(was_replaced(self._kafka, name, self._began_as, timed_out=timed_out))

        try:
            self._deadline.run(ask, ASK_DEADLINE_SECONDS)
        except Exception as error:
            log_event(logging.WARNING, "owner_unknown", reason=str(error))
        return told == [True]

    def lag(self) -> dict[int, int]:
        """Return the committed records not read yet, per partition, not older than about a second.

        Raises:
            BrokerUnreachable: no answer for `worker.broker_deadline_seconds`.
            RefusedToStart: partitions were added to the topic.
        """
        if self._answers.ask_when_due():
            positions = self.positions()
            self._lag = {number: max(0, end - positions[number]) for number, end in self._answers.ends.items()}
            self._refuse_new_partitions()
            self._topic_identity.expect_the_same_id()
        return self._lag

    @property
    def held_back(self) -> HeldBack:
        """What upstream transactions that have not ended keep from being read, as of the last answer of `lag`."""
        return self._answers.held_back

    def _refuse_new_partitions(self) -> None:
        known = self._consumer.partitions_for_topic(self._settings.topics.events)
        if known and len(known) != len(self._partitions):
            raise RefusedToStart(
                f"topic {self._settings.topics.events}: it had {len(self._partitions)} partitions at the start and "
                f"has {len(known)} now: start the worker again, so that it reads them all"
            )

    def silent_seconds(self) -> float:
        """Return for how long the brokers have not answered; 0 when they answered the last question, or since."""
        return self._answers.silent_seconds()

    def close(self) -> None:
        """Disconnect; an open transaction is rolled back."""
        with suppress(errors.KafkaError):  # what could not be flushed is rolled back, and why we leave matters more
            if self._producer is not None:
                self._producer.close(timeout=0 if self._broken else 5)
        with suppress(errors.KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=2_000)
        self._deadline.stop()
