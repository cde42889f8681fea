"""`millstream status` and `millstream doctor` beside a real worker, and when it is gone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner, Result

from millstream.main import app
from stream.config.settings import Settings
from stream.errors import Unhealthy
from stream.log.kafka import EventProducer, ensure_topics
from stream.log.kafka.group_lag import standings
from tests.contracts.test_transports import kafka_settings
from tests.support.workers import TOPICS, WorkerProcess, num_read, produce, until

pytestmark = pytest.mark.broker

NUM_EVENTS = 60
"""Two of them, the first of every fifty, become dead letters."""


class Ward:
    """A worker that has learned a little, and the commands with its settings."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self._folder = settings, folder
        self.worker = WorkerProcess(settings, folder / "log", **{"checkpoints.interval_seconds": 0.2})
        until(lambda: num_read(settings) == NUM_EVENTS and "checkpoint_written" in self.worker.text(), self.worker)
        found = re.search(r"metrics=http://127\.0\.0\.1:(\d+)/", self.worker.text())
        assert found is not None
        self.port = found[1]

    def run(self, command: str, *flags: str, **environment: str) -> Result:
        names = {f"MILLSTREAM_TOPICS_{name.upper()}": getattr(self.settings.topics, name) for name in TOPICS}
        given = {
            **names,
            "MILLSTREAM_TOPICS_PARTITIONS": "1",
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "MILLSTREAM_WORKER_GROUP_ID": self.settings.worker.group_id,
            "MILLSTREAM_WORKER_TRANSACTIONAL_ID": self.settings.worker.transactional_id,
            "MILLSTREAM_CHECKPOINTS_URL": str(self._folder / "checkpoints"),
            "MILLSTREAM_METRICS_PORT": self.port,
            **environment,
        }
        return CliRunner().invoke(app, [command, *flags], env=given)


@pytest.fixture(scope="module")
def ward(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    produce(settings, 0, NUM_EVENTS)
    ward = Ward(settings, tmp_path_factory.mktemp("ward"))
    yield ward
    ward.worker.end()


def test_a_worker_that_has_read_everything_is_healthy_on_one_screen(ward: Ward) -> None:
    shown = ward.run("status")

    assert shown.exit_code == 0, shown.output
    assert len(shown.output.splitlines()) <= 24
    assert "alive, ready" in shown.output
    assert "0 records: [0] 0" in shown.output
    assert re.search(r"commit +epoch \d+, \d+ s ago, by ", shown.output)
    assert re.search(r"checkpoint +epoch \d+, \d+ s ago, \d", shown.output)
    assert "2 since 1h: not_json 2" in shown.output
    assert shown.output.splitlines()[-1] == "healthy, 1 warning"


def test_the_json_report_holds_the_same(ward: Ward) -> None:
    report = json.loads(ward.run("status", "--json").output)

    assert report["healthy"] is True
    assert (report["worker"]["alive"], report["worker"]["ready"]) == (True, True)
    assert report["lag"]["records"] == 0
    assert report["lag"]["partitions"]["0"] == {"begin": 0, "end": NUM_EVENTS, "committed": NUM_EVENTS, "lag": 0}
    assert report["commit"]["by"] == ward.settings.worker.transactional_id
    assert report["checkpoint"]["epoch"] <= report["commit"]["epoch"]
    assert set(report["quality"]) == {"model", "transitions", "popularity"}
    assert report["freshness_seconds"]["events"] == NUM_EVENTS - 2
    assert report["dead_letters"] == {"not_json": 2}


def test_a_worker_that_cannot_be_asked_is_taken_for_alive_only_while_it_commits(ward: Ward) -> None:
    fresh = ward.run("status", "--url", "http://127.0.0.1:1", MILLSTREAM_WORKER_STALL_DEADLINE_SECONDS="3600")
    stale = ward.run("status", "--url", "http://127.0.0.1:1", MILLSTREAM_WORKER_STALL_DEADLINE_SECONDS="0.001")

    assert fresh.exit_code == 0, fresh.output
    assert "so a worker runs somewhere" in fresh.output
    assert isinstance(stale.exception, Unhealthy)
    assert "start it with 'millstream run'" in stale.output


def test_brokers_that_are_away_are_named_and_the_rest_is_still_shown(ward: Ward) -> None:
    away = {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "MILLSTREAM_KAFKA_BOOTSTRAP_TIMEOUT_MS": "500"}

    shown = ward.run("status", **away)
    judged = ward.run("doctor", **away)

    assert isinstance(shown.exception, Unhealthy)
    assert "error    brokers  broker 127.0.0.1:1: no usable answer" in shown.output
    assert "alive, ready" in shown.output
    assert isinstance(judged.exception, Unhealthy)
    assert "-> start them, or correct kafka.bootstrap_servers (127.0.0.1:1)" in judged.output


def test_doctor_finds_all_well_but_for_the_defaults_of_one_machine(ward: Ward) -> None:
    report = json.loads(ward.run("doctor", "--json").output)

    assert report["healthy"] is True
    assert [found["about"] for found in report["findings"] if found["level"] != "ok"] == ["durability"]
    assert {found["about"] for found in report["findings"]} >= {"python", "device", "checkpoints", "brokers", "clock"}
    assert all(found["fix"] for found in report["findings"] if found["level"] != "ok")


def test_doctor_finds_a_device_a_topic_and_an_identity_that_are_not_there(ward: Ward) -> None:
    import torch

    wanted = {} if torch.cuda.is_available() else {"MILLSTREAM_MODEL_DEVICE": "cuda"}
    missing = ward.run("doctor", MILLSTREAM_TOPICS_JOURNAL="no.such", **wanted)
    renamed = ward.run("doctor", MILLSTREAM_WORKER_TRANSACTIONAL_ID="another")

    assert isinstance(missing.exception, Unhealthy)
    assert "no.such does not exist" in missing.output
    assert ("expected a CUDA device" in missing.output) == bool(wanted)
    assert "the settings say another" in renamed.output


def test_an_event_from_the_future_shows_that_a_clock_is_wrong(ward: Ward, broker: Any) -> None:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    import time

    with EventProducer(settings.kafka, settings.topics.events) as producer:
        producer.send(b"ana", b"{}", timestamp_ms=time.time_ns() // 1_000_000 + 600_000)
    names = {f"MILLSTREAM_TOPICS_{name.upper()}": getattr(settings.topics, name) for name in TOPICS}

    shown = ward.run("doctor", **names).output

    assert re.search(r"warning +clock +a record is stamped (9|10) min after now", shown)


def test_the_end_of_a_producers_transaction_does_not_count_as_a_waiting_record(broker: Any) -> None:
    settings = kafka_settings(broker)
    ensure_topics(settings)
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers, transactional_id=settings.topics.events)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(settings.topics.events, b"1", partition=0)
    producer.flush()
    producer.commit_transaction()
    producer.close()
    before = standings(settings)[0]

    _commit(settings, 1)

    assert (before.end, before.lag) == (2, 2), "a record and the marker"
    assert standings(settings)[0].lag == 0


def _commit(settings: Settings, offset: int) -> None:
    from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers, group_id=settings.worker.group_id, enable_auto_commit=False
    )
    consumer.assign([TopicPartition(settings.topics.events, 0)])
    consumer.commit({TopicPartition(settings.topics.events, 0): OffsetAndMetadata(offset)})
    consumer.close()
