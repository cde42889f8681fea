"""Reading again what was committed: the whole range of every batch, or a refusal with numbers."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewPartitions

from stream.config.settings import Settings
from stream.errors import RecordsGone
from stream.log.kafka import EventProducer, KafkaHistory, TopicReader, ensure_topics
from stream.wire.schema import JournalEntry, OffsetRange
from tests.contracts.test_transports import kafka_settings
from tests.support.events import journal_entry

pytestmark = pytest.mark.broker


@pytest.fixture
def settings(broker: Any) -> Settings:
    settings = kafka_settings(broker)
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 2})})
    ensure_topics(settings)
    return settings


@pytest.fixture
def opened(settings: Settings) -> Iterator[Callable[[], KafkaHistory]]:
    histories: list[KafkaHistory] = []

    def open_history() -> KafkaHistory:
        histories.append(KafkaHistory(settings))
        return histories[-1]

    yield open_history
    for history in histories:
        history.close()


@pytest.fixture
def admin(settings: Settings) -> Iterator[Any]:
    admin: Any = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    yield admin
    admin.close()


def an_entry(settings: Settings, epoch: int, topic: str | None = None, **spans: tuple[int, int]) -> JournalEntry:
    """Return an entry; `p0=(3, 7)` means the offsets 3 to 6 of partition 0."""
    return journal_entry(
        epoch=epoch,
        app=settings.worker.transactional_id,
        topic=topic or settings.topics.events,
        partitions={int(name[1:]): OffsetRange(*span) for name, span in spans.items()},
    )


def write_journal(settings: Settings, epochs: range, *, others: int = 0) -> None:
    """Write entries, and after each of them as many of another application on another topic."""
    key = settings.worker.transactional_id.encode()
    with EventProducer(settings.kafka, settings.topics.journal) as producer:
        for epoch in epochs:
            producer.send(key, msgspec.json.encode(an_entry(settings, epoch)))
            for number in range(others):
                other = an_entry(settings, epoch * others + number, "another.topic")
                producer.send(key, msgspec.json.encode(other))


def write_events(settings: Settings, partition: int, num_events: int) -> None:
    producer: Any = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers)
    for number in range(num_events):
        producer.send(settings.topics.events, b"%d" % number, partition=partition)
    producer.close()


def offsets(history: KafkaHistory, entry: JournalEntry) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in history.records(entry)]


# The journal


def test_entries_come_from_the_asked_epoch_on_without_those_of_other_applications(
    settings: Settings, opened: Callable[[], KafkaHistory]
) -> None:
    write_journal(settings, range(1, 2_001), others=2)
    history = opened()

    newest = history.newest()

    assert newest is not None
    assert newest.epoch == 2_000
    for first in (1, 1_000, 1_999, 2_000, 2_001):
        assert [entry.epoch for entry in history.entries(first)] == list(range(first, 2_001))


def test_the_newest_entries_of_a_long_journal_do_not_cost_reading_it_whole(
    settings: Settings, opened: Callable[[], KafkaHistory], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_journal(settings, range(1, 6_001))
    polled: list[int] = []
    poll = TopicReader.poll

    def counting(reader: TopicReader, timeout_seconds: float = 0.5) -> list[Any]:
        records = poll(reader, timeout_seconds)
        polled.extend(record.offset for record in records)
        return records

    monkeypatch.setattr(TopicReader, "poll", counting)

    assert [entry.epoch for entry in opened().entries(5_990)] == list(range(5_990, 6_001))
    assert min(polled) >= 5_000


def test_a_journal_that_lost_its_beginning_gives_what_is_left(
    settings: Settings, opened: Callable[[], KafkaHistory], admin: Any
) -> None:
    write_journal(settings, range(1, 1_501))
    admin.delete_records({TopicPartition(settings.topics.journal, 0): 1_200})

    assert [entry.epoch for entry in opened().entries(5)] == list(range(1_201, 1_501))


def test_an_empty_journal_has_no_entries(opened: Callable[[], KafkaHistory]) -> None:
    history = opened()

    assert history.newest() is None
    assert list(history.entries(1)) == []


# The records of a batch


def test_records_of_several_partitions_are_in_order_and_what_is_read_ahead_waits_for_its_batch(
    settings: Settings, opened: Callable[[], KafkaHistory]
) -> None:
    write_events(settings, 0, 3_000)
    write_events(settings, 1, 500)
    history = opened()
    first, second, third = (
        an_entry(settings, 1, p1=(0, 3), p0=(0, 2)),
        an_entry(settings, 2, p0=(2, 2_500)),
        an_entry(settings, 3, p0=(2_500, 3_000), p1=(3, 500)),
    )

    assert offsets(history, first) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert offsets(history, second) == [(0, offset) for offset in range(2, 2_500)]
    assert offsets(history, third) == [(0, n) for n in range(2_500, 3_000)] + [(1, n) for n in range(3, 500)]


def test_an_older_batch_can_be_asked_for_again(settings: Settings, opened: Callable[[], KafkaHistory]) -> None:
    write_events(settings, 0, 30)
    history = opened()
    for _ in range(2):
        assert offsets(history, an_entry(settings, 1, p0=(5, 7))) == [(0, 5), (0, 6)]
        assert offsets(history, an_entry(settings, 2, p0=(7, 8))) == [(0, 7)]
    assert offsets(history, an_entry(settings, 9, p0=(28, 30))) == [(0, 28), (0, 29)]


def write_transactions(settings: Settings, ends: str) -> None:
    """Write two records a transaction into partition 0; c: committed, a: aborted. Each takes three offsets."""
    producer: Any = KafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, transactional_id=f"{settings.worker.group_id}-upstream"
    )
    producer.init_transactions()
    for end in ends:
        producer.begin_transaction()
        for _ in range(2):
            producer.send(settings.topics.events, end.encode(), partition=0)
        producer.flush()
        producer.commit_transaction() if end == "c" else producer.abort_transaction()
    producer.close()


def test_markers_are_stepped_over_and_aborted_records_are_not_there(
    settings: Settings, opened: Callable[[], KafkaHistory]
) -> None:
    write_transactions(settings, "cacc")  # committed: 0 1, 6 7, 9 10; markers: 2 5 8 11; the last one ends the log
    history = opened()

    assert offsets(history, an_entry(settings, 1, p0=(0, 7))) == [(0, 0), (0, 1), (0, 6)]
    assert offsets(history, an_entry(settings, 2, p0=(7, 12))) == [(0, 7), (0, 9), (0, 10)]
    assert offsets(opened(), an_entry(settings, 1, p0=(0, 3))) == [(0, 0), (0, 1)]
    assert offsets(opened(), an_entry(settings, 1, p0=(3, 6))) == []


def test_batches_with_gaps_between_them_are_read_on_and_not_fetched_anew(
    settings: Settings, opened: Callable[[], KafkaHistory], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_transactions(settings, 20 * "c")
    history = opened()
    seeks: list[int] = []
    seek = history._consumer.seek

    def counting(partition: TopicPartition, offset: int) -> None:
        seeks.append(offset)
        seek(partition, offset)

    monkeypatch.setattr(history._consumer, "seek", counting)

    for number in range(20):
        first = 3 * number
        assert offsets(history, an_entry(settings, number + 1, p0=(first, first + 2))) == [(0, first), (0, first + 1)]

    assert seeks == [0]


def test_what_lies_between_two_batches_belongs_to_neither(
    settings: Settings, opened: Callable[[], KafkaHistory]
) -> None:
    write_events(settings, 0, 5_000)
    history = opened()

    assert offsets(history, an_entry(settings, 1, p0=(0, 2))) == [(0, 0), (0, 1)]
    assert offsets(history, an_entry(settings, 2, p0=(5, 6))) == [(0, 5)]
    assert offsets(history, an_entry(settings, 3, p0=(4_990, 4_991))) == [(0, 4_990)]
    assert offsets(history, an_entry(settings, 4, p0=(4_991, 5_000))) == [(0, n) for n in range(4_991, 5_000)]


def test_retention_that_overtook_a_batch_is_told_in_numbers_and_later_batches_can_be_read(
    settings: Settings, opened: Callable[[], KafkaHistory], admin: Any
) -> None:
    write_events(settings, 0, 100)
    write_events(settings, 1, 100)
    admin.delete_records({TopicPartition(settings.topics.events, 1): 50})
    history = opened()
    assert offsets(history, an_entry(settings, 1, p0=(0, 1))) == [(0, 0)]

    for epoch in (2, 3):
        with pytest.raises(RecordsGone, match=rf"\[1\]: epoch {epoch} .*\[49, 60\).* \[50, 100\)"):
            history.records(an_entry(settings, epoch, p0=(1, 2), p1=(49, 60)))

    assert offsets(history, an_entry(settings, 4, p0=(1, 3), p1=(60, 61))) == [(0, 1), (0, 2), (1, 60)]


def test_retention_between_two_batches_is_noticed_by_the_second(
    settings: Settings, opened: Callable[[], KafkaHistory], admin: Any
) -> None:
    write_events(settings, 0, 100)
    history = opened()
    assert offsets(history, an_entry(settings, 1, p0=(0, 10))) == [(0, n) for n in range(10)]
    write_events(settings, 0, 4_000)
    admin.delete_records({TopicPartition(settings.topics.events, 0): 4_050})

    with pytest.raises(RecordsGone, match=r"epoch 2 .*\[10, 4060\).* \[4050, 4100\)"):
        history.records(an_entry(settings, 2, p0=(10, 4_060)))

    assert offsets(history, an_entry(settings, 3, p0=(4_060, 4_062))) == [(0, 4_060), (0, 4_061)]


@pytest.mark.parametrize("before", [[], [(0, 20)]])
def test_a_log_that_is_shorter_than_a_batch_is_told_in_numbers(
    settings: Settings, opened: Callable[[], KafkaHistory], before: list[tuple[int, int]]
) -> None:
    write_events(settings, 0, 25)
    history = opened()
    for span in before:
        history.records(an_entry(settings, 1, p0=span))

    with pytest.raises(RecordsGone, match=r"epoch 2 .*\[20, 30\).* \[0, 25\)"):
        history.records(an_entry(settings, 2, p0=(20, 30)))


def test_a_partition_that_is_not_there_any_more_is_named(
    settings: Settings, opened: Callable[[], KafkaHistory]
) -> None:
    with pytest.raises(RecordsGone, match=r"events\[7\]: epoch 1 read it, and it is gone"):
        opened().records(an_entry(settings, 1, p7=(0, 1)))


def test_partitions_that_were_added_are_known_to_a_history_opened_afterwards(
    settings: Settings, opened: Callable[[], KafkaHistory], admin: Any
) -> None:
    before = opened()
    admin.create_partitions({settings.topics.events: NewPartitions(3)})
    write_events(settings, 2, 4)

    after = opened()

    assert (before.partitions, after.partitions) == ((0, 1), (0, 1, 2))
    assert offsets(after, an_entry(settings, 1, p2=(1, 3))) == [(2, 1), (2, 2)]
