"""Is the events topic still the one that was read? Asked again after every pause in which it may have been made anew.

While a worker goes round, a topic that is deleted under it shows in its next fetch. One that stands still, as a frozen
process or a machine that sleeps, would go on in a new topic at the old offsets, over a hole. So what was read last from
each partition is remembered, and read again before anything that came after a pause is used.
"""

from collections.abc import Sequence
from typing import Any

from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.log.kafka.client import connecting
from stream.log.kafka.ownership import seconds_awake_or_asleep
from stream.log.kafka.topic_reader import record_at
from stream.wire.fingerprint import record_hash
from stream.wire.records import Record

__all__ = ["TopicIdentity"]

PAUSE_SECONDS = 5.0
"""Longer than a worker that is well stands still; reading back takes a moment, and nothing else when it was well."""


class TopicIdentity:
    """Remembers the last record of each partition, and the topic's id where the brokers tell it.

    Args:
        consumer: reads the topic.
        settings: connection and name of the topic.
    """

    def __init__(self, consumer: Any, settings: Settings) -> None:
        self._consumer, self._settings = consumer, settings
        self._topic = settings.topics.events
        self._last: dict[int, tuple[int, int]] = {}
        self._seen_at = seconds_awake_or_asleep()
        self._id: Any = None
        self.is_doubtful = False
        """There was a pause, and it is not known yet what became of the topic meanwhile."""

    def look(self) -> None:
        """Take note of a pause since the last look."""
        now = seconds_awake_or_asleep()
        self.is_doubtful |= now - self._seen_at > PAUSE_SECONDS
        self._seen_at = now

    def remember(self, records: Sequence[Record]) -> None:
        """Take in what was read, in order."""
        for record in {record.partition: record for record in records}.values():
            self._last[record.partition] = record.offset, record_hash(record)

    def expect_the_same_id(self) -> None:
        """Compare the id that the newest metadata has, where the brokers tell one.

        Raises:
            RefusedToStart: it is another topic under the old name.
        """
        told = self._consumer._cluster.topic_id(self._topic)  # the client shows it nowhere else; it is pinned
        if self._id is None:
            self._id = told
        if told is not None and told != self._id:
            raise self._refusal(f"its id was {self._id} and is {told}")

    def expect_the_same_records(self) -> None:
        """Read back what was read last; the doubt is gone afterwards.

        Raises:
            RefusedToStart: something else is there.
            BrokerUnreachable: the brokers did not answer; the doubt stays.
        """
        partitions = [known for known in self._consumer.assignment() if known.partition in self._last]
        with connecting(self._settings.kafka):
            begins = self._consumer.beginning_offsets(partitions) if partitions else {}
        for partition, begin in begins.items():
            offset, known = self._last[partition.partition]
            if offset < begin:
                continue  # retention took it; where a topic was made anew, it begins at 0
            found = record_at(self._settings.kafka, self._topic, partition.partition, offset)
            if found is None or record_hash(found) != known:
                what = "nothing" if found is None else "another record"
                raise self._refusal(f"[{partition.partition}]@{offset} was read before, and {what} is there now")
        self._seen_at = seconds_awake_or_asleep()
        self.is_doubtful = False

    def _refusal(self, what: str) -> RefusedToStart:
        return RefusedToStart(
            f"topic {self._topic}: {what}: the topic was made anew while this worker stood still. Nothing of the new "
            "one was learned. Look at the topic, then start with --from-beginning, or reset the offsets of group "
            f"{self._settings.worker.group_id}"
        )
