"""Reading again what was committed: the journal's entries, and the records that each batch was made of."""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from kafka import TopicPartition, errors

from stream.config.settings import Settings
from stream.errors import BrokerUnreachable, RecordsGone
from stream.log.kafka.client import connecting
from stream.log.kafka.topic_reader import TopicReader, newest_record, open_consumer, poll_in_order, topic_partitions
from stream.wire.journal_record import ForeignRecords
from stream.wire.records import Record
from stream.wire.schema import JournalEntry, OffsetRange

__all__ = ["KafkaHistory"]

FIRST_LOOK_BACK_OFFSETS = 1_000
LOOK_BACK_FACTOR = 8
MAX_POLL_RECORDS = 2_000
POLL_SECONDS = 1.0
WIDEST_GAP_OFFSETS = 1_000
"""Between two batches lie transaction markers: up to this many offsets are read over, as a seek throws away all that
was fetched already."""


class KafkaHistory:
    """The past of one events topic; joins no group and commits nothing.

    Args:
        settings: connection and topic names.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the events topic does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._foreign = ForeignRecords(settings.topics.events)
        self._consumer = open_consumer(self._kafka, "history", max_poll_records=MAX_POLL_RECORDS)
        with connecting(self._kafka):
            self._partitions = topic_partitions(self._consumer, settings.topics.events)
            self._consumer.assign(self._partitions)
            for partition, begin in self._consumer.beginning_offsets(self._partitions).items():
                self._consumer.seek(partition, begin)  # a partition without a position would fail every poll
            self._consumer.pause(*self._partitions)
        self._next: dict[TopicPartition, int] = {}  # offset after the last record that was handed out
        self._ahead: dict[TopicPartition, deque[Record]] = {partition: deque() for partition in self._partitions}

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions of the events topic, ascending."""
        return tuple(partition.partition for partition in self._partitions)

    def newest(self) -> JournalEntry | None:
        """Return the newest journal entry for the events topic, or None."""
        record = newest_record(self._kafka, self._settings.topics.journal, self._is_ours)
        return None if record is None else self._foreign.entry(record)

    def entries(self, first_epoch: int) -> Iterator[JournalEntry]:
        """Yield the journal's entries for the events topic that are there, from `first_epoch` on, in their order."""
        with TopicReader(self._kafka, self._settings.topics.journal, start="latest", role="journal") as reader:
            num_offsets = FIRST_LOOK_BACK_OFFSETS
            while not reader.seek_back(num_offsets) and not self._begins_before(reader, first_epoch):
                num_offsets *= LOOK_BACK_FACTOR
            reader.seek_back(num_offsets)
            for entry in self._read(reader):
                if entry.epoch >= first_epoch:
                    yield entry

    def _begins_before(self, reader: TopicReader, epoch: int) -> bool:
        first = next(self._read(reader), None)
        return first is not None and first.epoch <= epoch

    def _read(self, reader: TopicReader) -> Iterator[JournalEntry]:
        while not reader.caught_up():
            for record in reader.poll(POLL_SECONDS):
                if (entry := self._foreign.entry(record)) is not None:
                    yield entry

    def _is_ours(self, record: Record) -> bool:
        return self._foreign.entry(record) is not None

    def records(self, entry: JournalEntry) -> list[Record]:
        """Return the records of a batch in (partition, offset) order. Entries are asked for in their order.

        Raises:
            RecordsGone: some are no longer in the log.
            BrokerUnreachable: no answer for `kafka.request_timeout_ms`.
        """
        spans = {TopicPartition(entry.topic, number): span for number, span in entry.partitions.items()}
        try:
            with connecting(self._kafka):
                for partition, span in spans.items():
                    if not self._leads_to(partition, span):
                        self._seek(partition, span, entry)
                self._fetch(spans, entry)
        except RecordsGone:
            for partition in spans:
                self._next.pop(partition, None)  # it may stand where nothing is: the next entry seeks
            raise
        return [record for partition in sorted(spans) for record in self._take(partition, spans[partition])]

    def _leads_to(self, partition: TopicPartition, span: OffsetRange) -> bool:
        """Return whether reading on comes to the span soon."""
        handed_out = self._next.get(partition)
        if handed_out is None or span.first < handed_out:
            return False
        return span.first <= int(self._consumer.position(partition)) + WIDEST_GAP_OFFSETS

    def _take(self, partition: TopicPartition, span: OffsetRange) -> list[Record]:
        ahead = self._ahead[partition]
        records: list[Record] = []
        while ahead and ahead[0].offset < span.next:
            records.append(ahead.popleft())
        self._next[partition] = span.next
        return [record for record in records if record.offset >= span.first]

    def _seek(self, partition: TopicPartition, span: OffsetRange, entry: JournalEntry) -> None:
        if partition not in self._ahead:
            raise RecordsGone(f"{partition.topic}[{partition.partition}]: epoch {entry.epoch} read it, and it is gone")
        self._refuse_outside(partition, span, entry)
        self._ahead[partition].clear()
        self._consumer.seek(partition, span.first)

    def _fetch(self, spans: dict[TopicPartition, OffsetRange], entry: JournalEntry) -> None:
        """Poll until everything before the end of each span was handed over; what comes beyond waits its turn."""
        deadline = time.monotonic() + self._kafka.request_timeout_ms / 1000
        while missing := [p for p, span in spans.items() if self._consumer.position(p) < span.next]:
            self._consumer.resume(*missing)
            try:
                polled = poll_in_order(self._consumer, POLL_SECONDS, MAX_POLL_RECORDS)
            except errors.OffsetOutOfRangeError as error:
                for partition in missing:
                    self._refuse_outside(partition, spans[partition], entry)
                raise RecordsGone(f"{entry.topic}: records of epoch {entry.epoch} are gone ({error})") from error
            finally:
                self._consumer.pause(*missing)
            for record in polled:
                self._ahead[TopicPartition(record.topic, record.partition)].append(record)
            if polled:
                deadline = time.monotonic() + self._kafka.request_timeout_ms / 1000
            elif time.monotonic() > deadline:
                raise BrokerUnreachable(f"{entry.topic}: the records of epoch {entry.epoch} did not come")
            else:
                for partition in missing:
                    self._refuse_outside(partition, spans[partition], entry)

    def _refuse_outside(self, partition: TopicPartition, span: OffsetRange, entry: JournalEntry) -> None:
        begin = self._consumer.beginning_offsets([partition])[partition]
        end = self._consumer.end_offsets([partition])[partition]
        if span.first < begin or span.next > end:
            raise RecordsGone(
                f"{partition.topic}[{partition.partition}]: epoch {entry.epoch} was made of the offsets "
                f"[{span.first}, {span.next}), and the log holds [{begin}, {end})"
            )

    def close(self) -> None:
        """Disconnect."""
        close: Any = self._consumer.close
        close(autocommit=False, timeout_ms=2_000)
