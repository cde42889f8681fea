"""Reading what is visible from outside: the lists that are still in their topic, and the offsets of the group."""

from collections.abc import Iterator
from typing import Any

from stream.config.settings import Settings
from stream.log.kafka.client import connecting
from stream.log.kafka.topic_reader import TopicReader, open_consumer, topic_partitions
from stream.wire.formats import LIST_FORMAT, refuse_newer
from stream.wire.records import Record

__all__ = ["KafkaPublished"]

POLL_SECONDS = 1.0


class KafkaPublished:
    """What a worker published. Satisfies `stream.log.protocols.Published`; joins no group and commits nothing.

    Args:
        settings: connection, topic names and the group.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the events topic does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._consumer = open_consumer(self._kafka, "offsets", group_id=settings.worker.group_id)
        with connecting(self._kafka):
            self._partitions = topic_partitions(self._consumer, settings.topics.events)

    def lists(self) -> Iterator[Record]:
        """Yield the committed records of the recommendations topic that are still there, per partition in order."""
        with TopicReader(self._kafka, self._settings.topics.recommendations, role="lists") as reader:
            while not reader.caught_up():
                for record in reader.poll(POLL_SECONDS):
                    refuse_newer(record, LIST_FORMAT, "list")
                    yield record

    def committed(self) -> dict[int, int]:
        """Return the next offset of every partition of the events topic that the group has committed one for."""
        with connecting(self._kafka):
            offsets = {partition.partition: self._consumer.committed(partition) for partition in self._partitions}
        return {number: offset for number, offset in offsets.items() if offset is not None}

    def close(self) -> None:
        """Disconnect."""
        close: Any = self._consumer.close
        close(autocommit=False, timeout_ms=2_000)
