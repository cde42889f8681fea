"""Who owns a transactional id, asked of the brokers without taking it: after they refused the epoch of a worker.

INVALID_PRODUCER_EPOCH has two meanings. Another worker has initialised the id; or the coordinator has rolled a
transaction back that was open for longer than its timeout, as when the machine slept, and nobody else is there.
"""

import time

from kafka import KafkaAdminClient

from stream.config.settings import KafkaSettings
from stream.log.kafka.client import client_options, connecting

__all__ = ["seconds_awake_or_asleep", "was_replaced"]


def seconds_awake_or_asleep() -> float:
    """Return a clock that goes on while the machine sleeps, seconds; where there is none, one that does not."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def was_replaced(kafka: KafkaSettings, transactional_id: str, identity: tuple[int, int], *, timed_out: bool) -> bool:
    """Return whether another worker has initialised the transactional id after us.

    Args:
        kafka: the connection.
        transactional_id: of the worker.
        identity: producer id and epoch that the worker had.
        timed_out: its transaction was open for so long that the coordinator may have ended it, which takes one epoch.

    Raises:
        MillstreamError: the brokers did not tell.
    """
    with connecting(kafka):
        admin = KafkaAdminClient(**client_options(kafka, "ownership"))
        try:
            told = admin.describe_transactions([transactional_id])[transactional_id]
        finally:
            admin.close()
    producer_id, epoch = identity
    if told.producer_id != producer_id:
        return True
    return bool(told.producer_epoch > epoch + (1 if timed_out else 0))
