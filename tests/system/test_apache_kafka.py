"""Apache Kafka as the tests start it: its nodes are killed, frozen and stopped, and nothing of it stays behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream.config.settings import Settings
from stream.log.kafka import EventProducer, ensure_topics
from tests.contracts.test_transports import kafka_settings
from tests.support.apache_kafka import ApacheKafka, why_not
from tests.support.workers import read

DEADLINE_SECONDS = 60.0
STARTS_ONE = """
from tests.support.apache_kafka import ApacheKafka

with ApacheKafka() as kafka:
    print(kafka.pid(1), kafka._folders[1], flush=True)
    input()
"""


def with_three_replicas(settings: Settings) -> Settings:
    topics = settings.topics.model_copy(update={"replication_factor": 3, "min_insync_replicas": 2})
    return settings.model_copy(update={"topics": topics})


def produce(settings: Settings, *values: bytes) -> None:
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        for value in values:
            producer.send(b"ana", value)


@pytest.mark.parametrize("how", ["kill", "stop", "freeze"])
def test_what_was_written_is_there_while_a_node_is_away_and_when_it_is_back(
    how: str, apache_kafka_cluster: ApacheKafka
) -> None:
    settings = with_three_replicas(kafka_settings(apache_kafka_cluster))
    ensure_topics(settings)
    produce(settings, b"before")
    away = apache_kafka_cluster.leader(settings.topics.events, 0)

    getattr(apache_kafka_cluster, how)(away)
    produce(settings, b"meanwhile")
    if how == "freeze":
        apache_kafka_cluster.thaw(away)
        apache_kafka_cluster.await_registered(away)
    else:
        apache_kafka_cluster.again(away)
    apache_kafka_cluster.await_in_sync()

    assert apache_kafka_cluster.running() == [1, 2, 3]
    assert [record.value for record in read(settings, settings.topics.events)] == [b"before", b"meanwhile"]


def test_the_active_controller_and_a_coordinator_are_nodes_and_another_takes_over_from_a_killed_one(
    apache_kafka_cluster: ApacheKafka,
) -> None:
    controller = apache_kafka_cluster.controller()
    assert apache_kafka_cluster.transaction_coordinator("somebody") in (1, 2, 3)

    apache_kafka_cluster.kill(controller)
    next_one = apache_kafka_cluster.controller()
    apache_kafka_cluster.again(controller)

    assert {controller, next_one} < {1, 2, 3}
    assert next_one != controller


@pytest.mark.apache_kafka
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_node_ends_and_leaves_no_folder_when_the_process_that_started_it_is_killed() -> None:
    command = [sys.executable, "-c", STARTS_ONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + DEADLINE_SECONDS
    while Path(f"/proc/{pid}").exists() or Path(folder).exists():
        assert time.monotonic() < deadline, f"process {pid} or {folder} is still there"
        time.sleep(0.1)


def test_why_apache_kafka_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    assert why_not() == "needs Apache Kafka 4: KAFKA_HOME names no unpacked one"

    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    assert why_not() == f"needs Apache Kafka 4: no libs/kafka_*.jar in KAFKA_HOME, {tmp_path}"

    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.4.0.jar").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_not() == "needs Java 17 for Apache Kafka: apt-get install openjdk-17-jre-headless"
