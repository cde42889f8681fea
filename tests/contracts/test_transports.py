"""What every log must do: in memory, on the embedded broker and on Apache Kafka."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition

from stream.config.settings import Settings
from stream.errors import FencedError, RecordsGone
from stream.log.kafka import EventProducer, KafkaHistory, KafkaTransport, TopicReader, ensure_topics
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.log.protocols import History, Transport
from stream.wire.records import OutRecord, Record
from stream.wire.schema import JournalEntry, OffsetRange
from tests.support.events import journal_entry, small_settings


@dataclass
class Log:
    """One kind of log: how to write an event into it, open it, and read what was published and what was committed."""

    produce: Callable[[bytes], None]
    open: Callable[[], Transport]
    published: Callable[[], list[tuple[bytes | None, bytes | None]]]
    open_history: Callable[[], History]
    truncate: Callable[[int], None]
    """Deletes the oldest events."""
    events: str = "events"
    journal: str = "millstream.journal"
    app: str = "millstream-0"


def memory_log(_: pytest.FixtureRequest) -> Log:
    log = MemoryLog()
    return Log(
        produce=lambda value: log.produce(value, key=b"ana"),
        open=lambda: started(MemoryTransport(log)),
        published=lambda: [(record.key, record.value) for record in log.published("recommendations")],
        open_history=lambda: MemoryHistory(log),
        truncate=lambda num_records: log.truncate(0, num_records),
    )


def started(transport: MemoryTransport) -> Transport:
    transport.start()
    return transport


def embedded_log(request: pytest.FixtureRequest) -> Log:
    return kafka_log(request, request.getfixturevalue("broker"))


def apache_log(request: pytest.FixtureRequest) -> Log:
    return kafka_log(request, request.getfixturevalue("apache_kafka"))


def kafka_log(request: pytest.FixtureRequest, broker: Any) -> Log:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    opened: list[KafkaTransport] = []

    def produce(value: bytes) -> None:
        with EventProducer(settings.kafka, settings.topics.events) as producer:
            producer.send(b"ana", value)

    def open_transport() -> Transport:
        opened.append(KafkaTransport(settings))
        opened[-1].start()
        return opened[-1]

    def published() -> list[tuple[bytes | None, bytes | None]]:
        with TopicReader(settings.kafka, settings.topics.recommendations) as reader:
            return [(record.key, record.value) for record in read_all(reader)]

    histories: list[KafkaHistory] = []

    def open_history() -> KafkaHistory:
        histories.append(KafkaHistory(settings))
        return histories[-1]

    def truncate(num_records: int) -> None:
        admin: Any = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
        admin.delete_records({TopicPartition(settings.topics.events, 0): num_records})
        admin.close()

    def close() -> None:
        for transport in opened:
            transport.close()
        for history in histories:
            history.close()

    request.addfinalizer(close)
    topics = settings.topics
    app = settings.worker.transactional_id
    return Log(produce, open_transport, published, open_history, truncate, topics.events, topics.journal, app)


def kafka_settings(broker: Any) -> Settings:
    name = uuid4().hex[:8]
    topics = {topic: f"{name}.{topic}" for topic in ("events", "items", "recommendations", "dead_letters", "journal")}
    return small_settings(
        kafka={"bootstrap_servers": broker.bootstrap_servers},
        topics={**topics, "partitions": 1},
        worker={"group_id": name, "transactional_id": f"{name}-0"},
    )


def read_all(reader: TopicReader) -> list[Record]:
    records: list[Record] = []
    while not reader.caught_up():
        records.extend(reader.poll(0.2))
    return records


@pytest.fixture(
    params=[
        pytest.param(memory_log, id="memory"),
        pytest.param(embedded_log, id="embedded", marks=pytest.mark.broker),
        pytest.param(apache_log, id="apache", marks=pytest.mark.apache_kafka),
    ]
)
def log(request: pytest.FixtureRequest) -> Log:
    made: Log = request.param(request)
    return made


def poll_all(transport: Transport, num_records: int) -> list[Record]:
    records: list[Record] = []
    for _ in range(100):
        records.extend(transport.poll(10, 0.2))
        if len(records) >= num_records:
            break
    return records


def a_list(user: bytes) -> OutRecord:
    return OutRecord("recommendations", user, b"list of " + user)


def addressed(transport: Transport, record: OutRecord) -> OutRecord:
    topic = transport._settings.topics.recommendations if isinstance(transport, KafkaTransport) else record.topic
    return OutRecord(topic, record.key, record.value)


def test_records_come_once_and_in_order(log: Log) -> None:
    for value in (b"1", b"2", b"3"):
        log.produce(value)
    transport = log.open()

    records = poll_all(transport, 3)

    assert [(record.offset, record.key, record.value) for record in records] == [
        (0, b"ana", b"1"),
        (1, b"ana", b"2"),
        (2, b"ana", b"3"),
    ]
    assert transport.poll(10, 0.0) == []
    assert transport.positions() == {0: 3}


def test_no_more_records_come_than_were_asked_for(log: Log) -> None:
    for value in (b"1", b"2", b"3"):
        log.produce(value)
    transport = log.open()

    first = transport.poll(2, 5.0)

    assert len(first) <= 2
    assert [record.value for record in first + poll_all(transport, 3 - len(first))] == [b"1", b"2", b"3"]


def test_a_commit_makes_records_and_offsets_visible_together(log: Log) -> None:
    for value in (b"1", b"2"):
        log.produce(value)
    transport = log.open()
    poll_all(transport, 2)

    transport.commit([addressed(transport, a_list(b"ana"))], {0: 1})

    assert log.published() == [(b"ana", b"list of ana")]
    assert [record.value for record in poll_all(log.open(), 1)] == [b"2"]


def test_what_was_not_committed_is_read_again_by_the_next_worker(log: Log) -> None:
    log.produce(b"1")
    poll_all(log.open(), 1)

    assert [record.value for record in poll_all(log.open(), 1)] == [b"1"]
    assert log.published() == []


def test_a_newer_worker_fences_the_older_one(log: Log) -> None:
    log.produce(b"1")
    older = log.open()
    poll_all(older, 1)
    newer = log.open()

    with pytest.raises(FencedError):
        older.commit([addressed(older, a_list(b"ana"))], {0: 1})
    newer.commit([addressed(newer, a_list(b"ben"))], {0: 1})

    assert log.published() == [(b"ben", b"list of ben")]


def test_a_commit_of_offsets_alone_is_a_commit(log: Log) -> None:
    log.produce(b"1")
    transport = log.open()
    poll_all(transport, 1)

    transport.commit([], {0: 1})

    assert log.open().positions() == {0: 1}


def test_the_lag_is_what_was_not_read_yet(log: Log) -> None:
    for value in (b"1", b"2", b"3"):
        log.produce(value)
    transport = log.open()

    assert transport.lag() == {0: 3}
    assert transport.silent_seconds() == 0.0


def test_a_new_log_has_no_journal(log: Log) -> None:
    transport = log.open()

    assert transport.start() is None
    assert transport.partitions == (0,)
    assert transport.max_record_bytes > 500_000


# What was committed, read again


def an_entry(log: Log, epoch: int, first: int, next_offset: int) -> JournalEntry:
    return journal_entry(
        epoch=epoch,
        app=log.app,
        topic=log.events,
        partitions={0: OffsetRange(first, next_offset)},
        positions={0: next_offset},
    )


def commit_batches(log: Log, sizes: list[int]) -> list[JournalEntry]:
    """Carry batches of these sizes through the log; return their journal entries."""
    entries, first = [], 0
    transport = log.open()
    for number, size in enumerate(sizes):
        for offset in range(first, first + size):
            log.produce(b"%d" % offset)
        poll_all(transport, size)
        entries.append(an_entry(log, number + 1, first, first + size))
        first += size
        transport.commit([OutRecord(log.journal, log.app.encode(), msgspec.json.encode(entries[-1]))], {0: first})
    return entries


def test_what_is_polled_ends_with_the_record_that_comes_to_the_bytes_asked_for(log: Log) -> None:
    for number in range(6):
        log.produce(b"%d" % number * 1_000)
    transport = log.open()
    polled: list[list[Record]] = []
    deadline = time.monotonic() + 30
    while sum(map(len, polled)) < 6 and time.monotonic() < deadline:
        if records := transport.poll(10, 0.5, 2_000):
            polled.append(records)
            assert transport.positions() == {0: records[-1].offset + 1}

    assert [record.offset for records in polled for record in records] == list(range(6))
    assert all(len(records) <= 2 for records in polled)  # key and value of two are more than 2,000 bytes


def test_a_log_without_commits_has_no_history(log: Log) -> None:
    history = log.open_history()

    assert history.newest() is None
    assert list(history.entries(1)) == []
    assert history.partitions == (0,)


def test_foreign_records_in_the_journal_are_passed_over(log: Log) -> None:
    entries = commit_batches(log, [2, 1])
    foreign = [
        OutRecord(log.journal, None, b"garbage"),
        OutRecord(log.journal, log.app.encode(), b"\xff\x00"),
        OutRecord(log.journal, log.app.encode(), b"{}"),
        OutRecord(log.journal, b"else", b'[{"epoch": 3}]'),
        OutRecord(log.journal, log.app.encode(), None),
        OutRecord(log.journal, None, msgspec.json.encode(entries[0])),  # a copy that somebody made
    ]
    log.open().commit(foreign, {0: 3})
    history = log.open_history()

    assert history.newest() == entries[1]
    assert list(history.entries(1)) == entries
    another = log.open()
    assert another.positions() == {0: 3}


def test_history_holds_what_was_committed_from_any_epoch_on(log: Log) -> None:
    entries = commit_batches(log, [2, 1, 3])
    history = log.open_history()

    assert history.newest() == entries[-1]
    for first in (0, 1, 2, 3, 4):
        assert list(history.entries(first)) == entries[max(0, first - 1) :]


def test_the_records_of_a_batch_are_those_that_it_was_made_of(log: Log) -> None:
    entries = commit_batches(log, [2, 1, 3])
    history = log.open_history()

    for _ in range(2):  # in their order, as often as one likes
        batches = [[record.value for record in history.records(entry)] for entry in entries]
        assert batches == [[b"0", b"1"], [b"2"], [b"3", b"4", b"5"]]


def test_history_does_not_move_the_worker(log: Log) -> None:
    entries = commit_batches(log, [2])
    log.produce(b"2")
    transport = log.open()

    assert len(log.open_history().records(entries[0])) == 2

    assert transport.positions() == {0: 2}
    assert [record.value for record in poll_all(transport, 1)] == [b"2"]


def test_a_batch_that_retention_has_touched_is_gone_as_a_whole_and_the_next_one_is_there(log: Log) -> None:
    entries = commit_batches(log, [3, 2])
    log.truncate(1)
    history = log.open_history()

    with pytest.raises(RecordsGone, match=r"epoch 1 was made of the offsets \[0, 3\), and the log holds \[1, 5\)"):
        history.records(entries[0])
    assert [record.value for record in history.records(entries[1])] == [b"3", b"4"]


def test_a_batch_beyond_the_end_of_the_log_is_gone(log: Log) -> None:
    commit_batches(log, [3])

    with pytest.raises(RecordsGone, match=r"epoch 2 was made of the offsets \[3, 5\), and the log holds \[0, 3\)"):
        log.open_history().records(an_entry(log, 2, 3, 5))
