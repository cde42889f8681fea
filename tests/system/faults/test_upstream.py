"""A producer's transaction that never ends: nobody can read past it, and nobody may say that all is well."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaProducer

from millstream.diagnosis.doctor import broker_findings
from millstream.diagnosis.findings import Finding, Level
from millstream.diagnosis.status import look
from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from stream.log.kafka.held_back import held_back
from tests.support.events import event_bytes
from tests.support.probes import metric, stopped
from tests.support.workers import num_read, produce, until
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker


@contextmanager
def open_transaction(settings: Settings) -> Iterator[Any]:
    """One record in partition 1, in a transaction that has not ended."""
    servers, name = settings.kafka.bootstrap_servers, f"{settings.worker.group_id}-upstream"
    producer = KafkaProducer(bootstrap_servers=servers, transactional_id=name)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(settings.topics.events, event_bytes("ana", "a", "click"), key=b"ana", partition=1)
    producer.flush()
    try:
        yield producer
    finally:
        producer.close(timeout=5)


def of_upstream(findings: list[Finding]) -> list[Finding]:
    return [found for found in findings if found.about == "upstream"]


def test_what_an_open_transaction_holds_back_is_shown_and_learned_when_it_ends(
    settings: Settings, launch: Start
) -> None:
    port = free_port()
    worker = launch(settings, **{"metrics.port": port})
    until(lambda: "worker_started" in worker.text(), worker)
    records = [f'millstream_held_back_records{{partition="{number}"}}' for number in range(3)]
    with open_transaction(settings) as upstream:
        with KafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers) as others:
            for _ in range(20):
                others.send(settings.topics.events, event_bytes("ben", "b", "click"), key=b"ben", partition=1)
        until(lambda: metric(port, records[1]) == 21, worker)
        until(lambda: metric(port, "millstream_held_back_seconds") > 1, worker)
        assert [metric(port, name) for name in (records[0], records[2])] == [0, 0]
        assert metric(port, 'millstream_consumer_lag_records{partition="1"}') == 0
        (shown,) = of_upstream(look(settings, f"http://127.0.0.1:{port}", 0).findings)
        (found,) = of_upstream(broker_findings(settings))
        assert shown == found
        assert found.level is Level.WARNING
        assert f"{settings.topics.events}[1]: 21 records wait behind a transaction" in found.message

        upstream.commit_transaction()
        until(lambda: num_read(settings) >= 21, worker)

    until(lambda: metric(port, records[1]) == 0 and metric(port, "millstream_held_back_seconds") == 0, worker)
    assert stopped(worker) == 0


def test_without_an_open_transaction_nothing_is_held_back(settings: Settings) -> None:
    produce(settings, 0, 50)

    assert held_back(settings) == {}
