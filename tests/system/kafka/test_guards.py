"""The client's known traps, sprung on purpose against a real broker: nothing half-committed is ever visible."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, errors
from kafka.producer.transaction_manager import ProducerIdAndEpoch

from stream.config.settings import KafkaSettings, Settings
from stream.durability.recovery import Recovery
from stream.errors import BrokerUnreachable, ConfigError, FencedError, RefusedToStart, TransactionInDoubt
from stream.learning.worker_state import WorkerState
from stream.log.kafka import (
    EventProducer,
    KafkaHistory,
    KafkaTransport,
    TopicReader,
    differing_topics,
    ensure_topics,
    missing_topics,
)
from stream.log.kafka.deadline import DeadlineThread
from stream.pipeline import Pipeline
from stream.wire.records import OutRecord
from tests.contracts.test_transports import kafka_settings, poll_all, read_all

pytestmark = pytest.mark.broker


class Sabotaged:
    """A producer of which some methods are replaced; all others are the real one's."""

    def __init__(self, producer: Any, **replaced: Callable[..., Any]) -> None:
        self.__dict__.update(replaced)
        self._real = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def opened(settings: Settings) -> KafkaTransport:
    """Return a transport that has taken over."""
    transport = KafkaTransport(settings)
    transport.start()
    return transport


def make_pipeline(settings: Settings) -> Pipeline:
    transport = KafkaTransport(settings)
    recovery = Recovery(
        settings, lambda: KafkaHistory(settings), None, lambda: WorkerState(settings, transport.partitions)
    )
    return Pipeline(settings, transport, recovery)


class FailedFuture:
    def get(self, timeout: float | None = None) -> None:
        raise errors.KafkaTimeoutError("the batch passed its delivery timeout")


@pytest.fixture
def settings(broker: Any) -> Settings:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        producer.send(b"ana", b"1")
    return settings


@pytest.fixture
def transport(settings: Settings) -> Iterator[KafkaTransport]:
    transport = opened(settings)
    poll_all(transport, 1)
    yield transport
    transport.close()


def published(settings: Settings) -> list[bytes | None]:
    with TopicReader(settings.kafka, settings.topics.recommendations) as reader:
        return [record.value for record in read_all(reader)]


def out(settings: Settings, *values: bytes) -> list[OutRecord]:
    return [OutRecord(settings.topics.recommendations, b"k%d" % number, value) for number, value in enumerate(values)]


def assert_nothing_happened(settings: Settings) -> None:
    assert published(settings) == []
    after = opened(settings)
    assert after.positions() == {0: 0}
    after.close()


def test_a_record_that_was_not_written_rolls_the_whole_batch_back(
    settings: Settings, transport: KafkaTransport
) -> None:
    real = transport._producer
    futures: list[Any] = []

    def send(*args: Any, **kwargs: Any) -> Any:
        futures.append(real.send(*args, **kwargs))
        return FailedFuture() if len(futures) == 2 else futures[-1]

    transport._producer = Sabotaged(real, send=send)

    with pytest.raises(TransactionInDoubt, match="delivery timeout"):
        transport.commit(out(settings, b"a", b"b", b"c"), {0: 1})
    assert len(futures) == 3
    assert_nothing_happened(settings)


def test_a_failed_transaction_is_aborted_at_once_and_does_not_hold_up_the_readers(
    settings: Settings, transport: KafkaTransport
) -> None:
    def fail() -> None:
        raise errors.KafkaTimeoutError("no answer")

    transport._producer = Sabotaged(transport._producer, commit_transaction=fail)
    with pytest.raises(TransactionInDoubt, match="no answer"):
        transport.commit(out(settings, b"rolled back"), {0: 1})

    with EventProducer(settings.kafka, settings.topics.recommendations) as another:
        another.send(b"k0", b"after it")

    assert published(settings) == [b"after it"]


def test_a_commit_that_never_answers_ends_at_the_deadline(settings: Settings) -> None:
    hurried = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"commit_deadline_seconds": 0.5})}
    )
    transport = opened(hurried)
    poll_all(transport, 1)
    transport._producer = Sabotaged(transport._producer, commit_transaction=lambda: time.sleep(3600))

    start = time.monotonic()
    with pytest.raises(TransactionInDoubt, match=r"no answer within 0\.5 s"):
        transport.commit(out(settings, b"a"), {0: 1})

    assert time.monotonic() - start < 30
    transport.close()
    assert_nothing_happened(settings)


def test_a_fence_noticed_only_by_the_next_send_is_a_fence_all_the_same(
    settings: Settings, transport: KafkaTransport
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise errors.KafkaError("a previous request has failed with errors.", errors.ProducerFencedError())

    transport._producer = Sabotaged(transport._producer, send=refuse)

    with pytest.raises(FencedError, match="took over"):
        transport.commit(out(settings, b"a"), {0: 1})
    assert_nothing_happened(settings)


def test_a_producer_is_never_used_again_after_an_error(settings: Settings, transport: KafkaTransport) -> None:
    def refuse(*_: Any) -> None:
        raise errors.IllegalGenerationError("the group moved on")

    transport._producer = Sabotaged(transport._producer, send_offsets_to_transaction=refuse)
    with pytest.raises(TransactionInDoubt):
        transport.commit(out(settings, b"a"), {0: 1})

    with pytest.raises(TransactionInDoubt, match="must not be used again"):
        transport.commit(out(settings, b"b"), {0: 1})
    assert_nothing_happened(settings)


def test_a_new_producer_epoch_in_the_middle_of_a_transaction_is_fatal(
    settings: Settings, transport: KafkaTransport
) -> None:
    real = transport._producer
    manager = real._transaction_manager

    def send_offsets(*args: Any) -> None:
        real.send_offsets_to_transaction(*args)
        current = manager.producer_id_and_epoch
        manager.producer_id_and_epoch = ProducerIdAndEpoch(current.producer_id, current.epoch + 1)

    transport._producer = Sabotaged(real, send_offsets_to_transaction=send_offsets)

    with pytest.raises(FencedError):
        transport.commit(out(settings, b"a"), {0: 1})
    assert_nothing_happened(settings)


def test_an_open_transaction_of_a_dead_worker_is_rolled_back_by_the_next_one(settings: Settings) -> None:
    dead = opened(settings)
    poll_all(dead, 1)
    dead._producer.begin_transaction()
    dead._producer.send(settings.topics.recommendations, key=b"ana", value=b"half")
    dead._producer.flush()

    after = opened(settings)
    poll_all(after, 1)
    after.commit(out(settings, b"whole"), {0: 1})

    assert published(settings) == [b"whole"]
    after.close()
    dead._broken = True
    dead.close()


def test_the_deadline_thread_passes_on_what_a_call_raised_and_runs_the_next_one() -> None:
    thread = DeadlineThread("test")
    seen: list[str] = []

    def fail() -> None:
        raise ValueError("from the call")

    with pytest.raises(ValueError, match="from the call"):
        thread.run(fail, 5.0)
    thread.run(lambda: seen.append("ran"), 5.0)
    thread.stop()

    assert seen == ["ran"]


def test_missing_topics_are_named_with_the_command_that_makes_them(broker: Any) -> None:
    settings = kafka_settings(broker)

    assert len(missing_topics(settings)) == 5
    with pytest.raises(RefusedToStart, match=rf"{settings.topics.events}.*millstream topics create"):
        KafkaTransport(settings)
    assert ensure_topics(settings) == [
        settings.topics.events,
        settings.topics.items,
        settings.topics.recommendations,
        settings.topics.dead_letters,
        settings.topics.journal,
    ]
    assert ensure_topics(settings) == missing_topics(settings) == []


def test_events_for_a_topic_that_is_not_there_are_refused_and_it_is_not_made(broker: Any) -> None:
    settings = kafka_settings(broker)

    with pytest.raises(RefusedToStart, match=rf"{settings.topics.events}.*millstream topics create"):
        EventProducer(settings.kafka, settings.topics.events)

    assert settings.topics.events in missing_topics(settings)


def test_a_broker_that_is_not_there_is_named() -> None:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", bootstrap_timeout_ms=500)

    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1.*bootstrap_servers"):
        EventProducer(kafka, "events")


def test_group_and_journal_that_disagree_refuse_the_start_until_one_is_chosen(settings: Settings) -> None:
    entry = (
        b'{"epoch":7,"app":"%b","topic":"%b","partitions":{},"positions":{"0":0},"counts":{},'
        b'"decoded_at_ms":1,"generated_at_ms":1,"config_hash":"","origin":0,"settings_since":0,"records_hash":"",'
        b'"applied_hash":"","lists_hash":"","chain":""}'
        % (settings.worker.transactional_id.encode(), settings.topics.events.encode())
    )
    first = opened(settings)
    poll_all(first, 1)
    key = settings.worker.transactional_id.encode()
    first.commit([OutRecord(settings.topics.journal, key, entry)], {0: 1})
    first.close()

    with pytest.raises(RefusedToStart, match=r"is at 1, the journal at 0.*worker\.resume_from"):
        opened(settings)
    positions = {}
    for trusted in ("group", "journal"):
        worker = settings.worker.model_copy(update={"resume_from": trusted})
        chosen = opened(settings.model_copy(update={"worker": worker}))
        positions[trusted] = chosen.positions()[0]
        chosen.close()

    assert positions == {"group": 1, "journal": 0}


def test_a_committed_offset_past_the_end_of_the_log_refuses_the_start(settings: Settings) -> None:
    first = opened(settings)
    poll_all(first, 1)
    first.commit([], {0: 9})
    first.close()

    with pytest.raises(RefusedToStart, match=r"committed offset 9 is outside the log \[0, 1\]"):
        opened(settings)


def test_a_second_application_on_the_same_topics_is_refused_unless_it_is_a_renamed_one(settings: Settings) -> None:
    first = make_pipeline(settings)
    assert first.run_once() is not None
    renamed = settings.worker.model_copy(update={"transactional_id": f"{settings.worker.transactional_id}-b"})

    with pytest.raises(RefusedToStart, match=r"publish every list.*resume_from=journal"):
        opened(settings.model_copy(update={"worker": renamed}))

    chosen = renamed.model_copy(update={"resume_from": "journal"})
    transport = KafkaTransport(settings.model_copy(update={"worker": chosen}))
    entry = transport.start()
    assert entry is not None
    assert (entry.epoch, transport.positions()) == (1, {0: 1})
    transport.close()


def test_a_journal_topic_with_something_else_in_it_does_not_keep_a_worker_from_starting(settings: Settings) -> None:
    with EventProducer(settings.kafka, settings.topics.journal) as producer:
        producer.send(settings.worker.transactional_id.encode(), b"x")
        producer.send(b"else", b"{}")

    assert opened(settings).num_foreign_journal_records == 2


def test_what_comes_between_a_first_start_at_latest_and_a_restart_is_read(settings: Settings) -> None:
    latest = settings.model_copy(update={"worker": settings.worker.model_copy(update={"start": "latest"})})
    opened(latest).close()
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        producer.send(b"ana", b"2")

    again = opened(latest)

    assert [record.value for record in poll_all(again, 1)] == [b"2"]
    again.close()


def test_an_error_of_ours_inside_a_transaction_is_not_called_a_matter_of_starting_again(
    settings: Settings, transport: KafkaTransport
) -> None:
    with pytest.raises(TypeError):
        transport.commit([OutRecord(settings.topics.recommendations, b"k", b"v", [("name", None)])], {0: 1})
    assert_nothing_happened(settings)


def test_a_record_too_large_for_its_topic_refuses_with_the_setting_to_change(
    settings: Settings, transport: KafkaTransport
) -> None:
    with pytest.raises(RefusedToStart, match=r"max\.message\.bytes"):
        transport.commit(out(settings, b"x" * 5_000_000), {0: 1})
    assert_nothing_happened(settings)


def test_a_certificate_file_that_is_not_there_is_named() -> None:
    kafka = KafkaSettings(security_protocol="SSL", ssl_cafile=Path("/nowhere/ca.pem"))

    with pytest.raises(ConfigError, match=r"kafka\.ssl_cafile: expected a readable file, got /nowhere/ca\.pem"):
        EventProducer(kafka, "events")


def test_topics_that_exist_otherwise_than_they_should_are_named(broker: Any) -> None:
    settings = kafka_settings(broker)
    topics = settings.topics
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    admin.create_topics(
        {topics.recommendations: {"num_partitions": 1, "replication_factor": 1, "configs": {}}}, wait_for_metadata=True
    )
    admin.close()

    ensure_topics(settings)

    differences = differing_topics(settings)
    assert set(differences) == {topics.recommendations}
    assert "cleanup.policy is delete, expected compact" in differences[topics.recommendations]


@pytest.mark.parametrize("compression_type", ["gzip", "lz4", "snappy", "zstd"])
def test_events_are_read_however_their_producer_compresses_them(settings: Settings, compression_type: str) -> None:
    kafka = settings.kafka.model_copy(update={"compression_type": compression_type})
    values = [b"%d" % number + b"x" * 50_000 for number in range(40)]  # a batch of 2 MB
    with EventProducer(kafka, settings.topics.events) as producer:
        for value in values:
            producer.send(b"ana", value)

    transport = opened(settings)

    assert [record.value for record in poll_all(transport, 41)] == [b"1", *values]
    transport.close()


def test_a_first_start_at_latest_reads_only_what_comes_after(settings: Settings) -> None:
    worker = settings.worker.model_copy(update={"start": "latest"})
    transport = opened(settings.model_copy(update={"worker": worker}))
    assert transport.positions() == {0: 1}

    with EventProducer(settings.kafka, settings.topics.events) as producer:
        producer.send(b"ana", b"2")

    assert [record.value for record in poll_all(transport, 1)] == [b"2"]
    transport.close()
