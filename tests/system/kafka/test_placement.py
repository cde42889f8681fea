"""To which partition a record goes."""

from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from stream.config.settings import Settings
from stream.errors import TransactionInDoubt
from stream.failpoints import Watch, unwatched
from stream.log.kafka import KafkaTransport, TopicReader, ensure_topics
from stream.wire.records import OutRecord
from tests.contracts.test_transports import kafka_settings, read_all
from tests.support.events import small_settings

pytestmark = pytest.mark.broker


def settings_of(broker: Any) -> Settings:
    settings = kafka_settings(broker)
    return small_settings(
        kafka={"bootstrap_servers": broker.bootstrap_servers},
        topics=settings.topics.model_dump() | {"partitions": 3},
        worker={"group_id": settings.worker.group_id, "transactional_id": settings.worker.transactional_id},
    )


def letters(settings: Settings, source_partitions: list[int]) -> list[OutRecord]:
    topic = settings.topics.dead_letters
    return [OutRecord(topic, None, f"{p}".encode(), source_partition=p) for p in source_partitions]


def read(settings: Settings) -> list[tuple[int, bytes | None]]:
    with TopicReader(settings.kafka, settings.topics.dead_letters) as reader:
        return [(record.partition, record.value) for record in read_all(reader)]


def test_a_dead_letter_without_a_key_goes_to_the_partition_of_its_record_in_order(broker: Any) -> None:
    settings = settings_of(broker)
    ensure_topics(settings)
    transport = started(settings)

    transport.commit(letters(settings, [0, 1, 2, 3, 4, 3]), {})
    transport.close()

    assert sorted(read(settings)) == [(0, b"0"), (0, b"3"), (0, b"3"), (1, b"1"), (1, b"4"), (2, b"2")]
    assert [value for partition, value in read(settings) if partition == 0] == [b"0", b"3", b"3"]


def test_only_partitions_that_are_written_to_belong_to_the_transaction(broker: Any) -> None:
    """The embedded broker tears a transaction with an empty partition in it whose last transaction was rolled back."""
    settings = settings_of(broker)
    ensure_topics(settings)
    started(settings).close()  # commits where it begins
    for attempt in range(6):
        doomed = started(settings, watch=fail_at_the_end)
        with pytest.raises(TransactionInDoubt):
            doomed.commit(letters(settings, [0, 1, 2]), {0: 0})
        doomed.close()
        transport = started(settings)

        transport.commit(letters(settings, [attempt % 3]), {0: 0})

        transport.close()

    assert sorted(read(settings)) == [(p, f"{p}".encode()) for p in (0, 1, 2) for _ in range(2)]


def started(settings: Settings, watch: Watch = unwatched) -> KafkaTransport:
    transport = KafkaTransport(settings, watch)
    transport.start()
    return transport


def fail_at_the_end(instant: str) -> None:
    if instant == "offsets_sent":
        raise KafkaTimeoutError("as if the brokers were gone")
