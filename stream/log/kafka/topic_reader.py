"""Reading a whole topic without a group: what a subscriber, a test or the start of a worker does."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from kafka import KafkaConsumer, TopicPartition

from stream.config.settings import KafkaSettings
from stream.errors import RefusedToStart
from stream.log.kafka.client import client_options, connecting, to_record
from stream.wire.records import Record

__all__ = ["TopicReader", "newest_record", "open_consumer", "poll_in_order", "record_at", "topic_partitions"]

MAX_POLL_RECORDS = 2_000
MAX_ANSWER_BYTES = 1_073_741_824
"""Longest answer that is taken: the embedded broker sends a whole backlog at once, whatever it is asked for."""
SHORTEST_PAUSE_SECONDS = 0.001
LONGEST_PAUSE_SECONDS = 0.02
"""Bounds what waiting costs in processor time, and adds at most this to the freshness of a list."""


def open_consumer(kafka: KafkaSettings, role: str, **options: Any) -> Any:
    """Return a consumer that decides nothing by itself: no group join, no commits, no resets.

    It reads committed records, unless the options say otherwise.
    """
    with connecting(kafka):
        return KafkaConsumer(
            **client_options(kafka, role),
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            receive_message_max_bytes=MAX_ANSWER_BYTES,
            **({"isolation_level": "read_committed"} | options),
        )


def topic_partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic in order.

    Raises:
        RefusedToStart: the topic does not exist.
    """
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise RefusedToStart(f"topic {topic} does not exist: run 'millstream topics create'")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def poll_in_order(consumer: Any, timeout_seconds: float, max_records: int) -> list[Record]:
    """Return the next records in (partition, offset) order; waits for the first one until the timeout.

    We wait here and not inside the client: a broker that answers an empty fetch at once, as the embedded one does,
    would have the client ask again a thousand times a second, and burn a core while nothing happens.
    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = SHORTEST_PAUSE_SECONDS
    while True:
        polled = consumer.poll(timeout_ms=0, max_records=max_records)
        remaining_seconds = deadline - time.monotonic()
        if polled or remaining_seconds <= 0:
            return [to_record(raw) for partition in sorted(polled) for raw in polled[partition]]
        time.sleep(min(pause_seconds, remaining_seconds))
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


class TopicReader:
    """Reads every partition of a topic, committed records only.

    Args:
        kafka: the connection.
        topic: what to read; it must exist.
        start: where to begin.
        role: ends the client id.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the topic does not exist.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        start: Literal["earliest", "latest"] = "earliest",
        role: str = "reader",
    ) -> None:
        self._kafka = kafka
        self._consumer = open_consumer(kafka, role, max_poll_records=MAX_POLL_RECORDS)
        with connecting(kafka):
            self._partitions = topic_partitions(self._consumer, topic)
            self._consumer.assign(self._partitions)
            ends = self._consumer.end_offsets(self._partitions)
            starts = self._consumer.beginning_offsets(self._partitions) if start == "earliest" else ends
            for partition, offset in starts.items():
                self._consumer.seek(partition, offset)
        self._ends = self._ends_at_start = ends

    def poll(self, timeout_seconds: float = 0.5) -> list[Record]:
        """Return the next records in (partition, offset) order; none when none came in time."""
        with connecting(self._kafka):
            return poll_in_order(self._consumer, timeout_seconds, MAX_POLL_RECORDS)

    def caught_up(self) -> bool:
        """Return True when everything committed by now has been read.

        Positions are compared, not offsets of records: the last offset may be a transaction marker.
        """
        with connecting(self._kafka):
            self._ends = self._consumer.end_offsets(self._partitions)
            return all(self._consumer.position(partition) >= end for partition, end in self._ends.items())

    def has_passed_start(self) -> bool:
        """Return True when everything that was committed at the opening has been read. Asks the brokers nothing."""
        with connecting(self._kafka):
            return all(self._consumer.position(partition) >= end for partition, end in self._ends_at_start.items())

    def lag(self, timeout_seconds: float) -> dict[int, int]:
        """Return the committed offsets not read yet, per partition; below 0 when the log is shorter than it was.

        Raises:
            BrokerUnreachable: no answer in time.
        """
        with connecting(self._kafka):
            ends = self._consumer.end_offsets(self._partitions, timeout_ms=timeout_seconds * 1000)
            return {partition.partition: end - self._consumer.position(partition) for partition, end in ends.items()}

    def seek_back(self, num_offsets: int) -> bool:
        """Go to `num_offsets` before the end of every partition; return True when that is the beginning of all."""
        with connecting(self._kafka):
            begins = self._consumer.beginning_offsets(self._partitions)
            for partition, end in self._ends.items():
                self._consumer.seek(partition, max(begins[partition], end - num_offsets))
        return all(end - num_offsets <= begins[partition] for partition, end in self._ends.items())

    def seek_to_time(self, time_ms: int) -> None:
        """Go to the first record of every partition whose timestamp is not before `time_ms`; its end if there is none.

        Records after it may be older: their timestamps need not rise.
        """
        with connecting(self._kafka):
            found = self._consumer.offsets_for_times(dict.fromkeys(self._partitions, time_ms))
            ends = self._consumer.end_offsets(self._partitions)
            for partition in self._partitions:
                first = found.get(partition)
                self._consumer.seek(partition, ends[partition] if first is None else first.offset)

    def seek(self, partition: int, offset: int) -> bool:
        """Read this one partition only, from this offset on; return whether the log holds that offset."""
        wanted = [known for known in self._partitions if known.partition == partition]
        if not wanted:
            return False
        with connecting(self._kafka):
            begin = self._consumer.beginning_offsets(wanted)[wanted[0]]
            end = self._consumer.end_offsets(wanted)[wanted[0]]
            if not begin <= offset < end:
                return False
            self._partitions = wanted
            self._consumer.assign(wanted)
            self._consumer.seek(wanted[0], offset)
        return True

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def newest_record(kafka: KafkaSettings, topic: str, wanted: Callable[[Record], bool]) -> Record | None:
    """Return the newest committed record of a topic that is wanted, or None.

    Looks back from the end in growing steps, so that a long topic costs no more than a short one.
    """
    with TopicReader(kafka, topic, start="latest", role="tail") as reader:
        num_offsets = 200
        while True:
            is_whole = reader.seek_back(num_offsets)
            newest = None
            while not reader.caught_up():
                for record in reader.poll(1.0):
                    newest = record if wanted(record) else newest
            if newest is not None or is_whole:
                return newest
            num_offsets *= 10


def record_at(kafka: KafkaSettings, topic: str, partition: int, offset: int) -> Record | None:
    """Return the committed record at this place, or None when there is none (any more)."""
    with TopicReader(kafka, topic, start="latest", role="look") as reader:
        if not reader.seek(partition, offset):
            return None
        while not reader.caught_up():
            for record in reader.poll(1.0):
                return record if record.offset == offset else None
    return None
