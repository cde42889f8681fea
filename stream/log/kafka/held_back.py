"""What an upstream transaction that does not end keeps from everybody who reads committed records."""

import time

from stream.config.settings import Settings
from stream.log.kafka.client import connecting
from stream.log.kafka.topic_reader import open_consumer, topic_partitions

__all__ = ["held_back"]

LOOK_AGAIN_SECONDS = 3.0
"""A transaction that is under way ends sooner, mostly."""
PAUSE_SECONDS = 0.3


def held_back(settings: Settings) -> dict[int, int]:
    """Return the offsets of the events topic behind a transaction that did not end while we looked, per partition.

    Partitions where there are none are left out. It takes time only where an open transaction is seen.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the topic does not exist.
    """
    committed = open_consumer(settings.kafka, "stable")
    everything = open_consumer(settings.kafka, "ends", isolation_level="read_uncommitted")
    try:
        with connecting(settings.kafka):
            partitions = topic_partitions(committed, settings.topics.events)
            stable, ends = committed.end_offsets(partitions), everything.end_offsets(partitions)
            held = {p: stable[p] for p in partitions if stable[p] < ends[p]}
            deadline = time.monotonic() + LOOK_AGAIN_SECONDS
            while held and time.monotonic() < deadline:
                time.sleep(PAUSE_SECONDS)
                again = committed.end_offsets(list(held))
                held = {p: offset for p, offset in held.items() if again[p] == offset}
            return {p.partition: ends[p] - offset for p, offset in held.items()}
    finally:
        committed.close(autocommit=False, timeout_ms=2_000)
        everything.close(autocommit=False, timeout_ms=2_000)
