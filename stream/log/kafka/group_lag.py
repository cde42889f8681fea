"""Where the group stands in the log: what a person on call asks first."""

import time
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition

from stream.config.settings import Settings
from stream.log.kafka.client import connecting
from stream.log.kafka.topic_reader import open_consumer, poll_in_order, topic_partitions

__all__ = ["PartitionStanding", "standings"]

MAX_MARKERS = 4
"""A longer lag is not looked at: records are in it, or will be."""
LOOK_SECONDS = 5.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class PartitionStanding:
    """One partition of the events topic: the log holds the offsets `[begin, end)`."""

    begin: int
    end: int
    committed: int | None
    """Next offset to be learned; None: the group has committed none yet."""
    lag: int
    """Records that wait. Offsets are counted, so a transaction marker among them counts as one."""


def standings(settings: Settings) -> dict[int, PartitionStanding]:
    """Return where the worker's group stands in each partition of the events topic; joins nothing.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the topic does not exist, or this user may not read it or the group.
    """
    kafka = settings.kafka
    consumer = open_consumer(kafka, "status", group_id=settings.worker.group_id)
    try:
        with connecting(kafka):
            partitions = topic_partitions(consumer, settings.topics.events)
            # The ends come last: a worker that commits meanwhile cannot seem to be ahead of the log.
            committed = {partition: consumer.committed(partition) for partition in partitions}
            begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
            lags = {p: max(0, ends[p] - max(begins[p], committed[p] or 0)) for p in partitions}
            for partition in partitions:
                if 0 < lags[partition] <= MAX_MARKERS and _are_markers(consumer, partition, ends[partition], lags):
                    lags[partition] = 0
    finally:
        close: Any = consumer.close
        close(autocommit=False, timeout_ms=2_000)
    return {p.partition: PartitionStanding(begins[p], ends[p], committed[p], lags[p]) for p in partitions}


def _are_markers(consumer: Any, partition: TopicPartition, end: int, lags: dict[TopicPartition, int]) -> bool:
    """Return whether what lies before the end is no record: the end of a producer's transaction takes an offset."""
    consumer.assign([partition])
    consumer.seek(partition, end - lags[partition])
    deadline = time.monotonic() + LOOK_SECONDS
    while consumer.position(partition) < end and time.monotonic() < deadline:
        if poll_in_order(consumer, POLL_SECONDS, 1):
            return False
    return bool(consumer.position(partition) >= end)
