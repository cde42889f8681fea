"""The worker as a process of its own on a real broker: killed, stopped, fenced, restarted, and refused.

Most of these processes are forked, to spare the seconds that the imports take; where a start itself is the promise, and
in the first test, they are started as a person would.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.config.settings import Settings
from stream.log.kafka import EventProducer, ensure_topics
from tests.contracts.test_transports import kafka_settings
from tests.support.events import event_bytes
from tests.support.forked import Forked
from tests.support.workers import (
    WorkerProcess,
    as_command,
    assert_every_event_is_accounted_for_once,
    journal,
    num_read,
    produce,
    read,
    until,
)

pytestmark = pytest.mark.broker

NUM_EVENTS = 2_000


@pytest.fixture
def settings(broker: Any) -> Settings:
    settings = kafka_settings(broker)
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"partitions": 3})})
    ensure_topics(settings)
    return settings


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(**overrides: Any) -> WorkerProcess:
        overrides = {"start_process": Forked, **overrides}
        started.append(WorkerProcess(settings, tmp_path / f"worker-{len(started)}.log", **overrides))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def test_a_worker_killed_in_mid_stream_again_and_again_loses_and_repeats_nothing(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    produce(settings, 0, NUM_EVENTS)
    worker = start(start_process=as_command)
    for share in (0.2, 0.5):
        until(lambda share=share: num_read(settings) > share * NUM_EVENTS, worker)  # type: ignore[misc]
        worker.process.send_signal(signal.SIGKILL)
        worker.wait()
        assert num_read(settings) < NUM_EVENTS
        worker = start(start_process=as_command)
    until(lambda: num_read(settings) == NUM_EVENTS, worker)

    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "model_starts_cold" not in worker.text()
    assert_every_event_is_accounted_for_once(settings, NUM_EVENTS)
    assert {entry.origin for entry in journal(settings)} == {0}


def test_a_second_worker_takes_over_and_the_first_ends_with_its_own_exit_code(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    produce(settings, 0, 200)
    first = start()
    until(lambda: num_read(settings) == 200, first)
    second = start()
    until(lambda: "worker_started" in second.text(), second)

    produce(settings, 200, 400)

    until(lambda: num_read(settings) == 400, second)
    assert first.wait() == 5
    assert "took over" in first.text()
    second.process.send_signal(signal.SIGTERM)
    assert second.wait() == 0
    assert_every_event_is_accounted_for_once(settings, 400)


def test_a_stopped_and_continued_worker_that_was_replaced_publishes_nothing_more(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    produce(settings, 0, NUM_EVENTS)
    zombie = start()
    until(lambda: num_read(settings) > 0, zombie)
    zombie.process.send_signal(signal.SIGSTOP)
    heir = start()
    until(lambda: num_read(settings) == NUM_EVENTS, heir)

    zombie.process.send_signal(signal.SIGCONT)

    assert zombie.wait() == 5, zombie.text()
    heir.process.send_signal(signal.SIGINT)
    assert heir.wait() == 0
    assert_every_event_is_accounted_for_once(settings, NUM_EVENTS)


def test_a_clean_stop_leaves_nothing_to_repeat(settings: Settings, start: Callable[..., WorkerProcess]) -> None:
    produce(settings, 0, 500)
    worker = start()
    until(lambda: num_read(settings) > 0, worker)

    worker.process.send_signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert "worker_stopped" in worker.text()
    before = num_read(settings)
    again = start()
    until(lambda: num_read(settings) == 500, again)
    again.process.send_signal(signal.SIGTERM)
    assert again.wait() == 0
    assert before <= 500
    assert_every_event_is_accounted_for_once(settings, 500)


def test_a_worker_shows_its_state_while_it_runs(settings: Settings, start: Callable[..., WorkerProcess]) -> None:
    produce(settings, 0, 300)
    worker = start(**{"log.format": "json"})
    until(lambda: num_read(settings) == 300, worker)
    started = next(line for line in map(json.loads, worker.text().splitlines()) if line["event"] == "worker_started")

    def scraped() -> str:
        with urllib.request.urlopen(started["metrics"], timeout=5) as answer:
            return str(answer.read().decode())

    # Each is set by itself, at the end of a batch or between two: what is read in the middle is of two moments.
    until(lambda: 'millstream_consumer_lag_records{partition="2"} 0.0' in scraped(), worker)
    until(lambda: "millstream_users 97.0" in scraped(), worker)
    text = scraped()
    assert 'millstream_events_total{outcome="learned",type="click"} 294.0' in text
    assert 'millstream_dead_letters_total{code="not_json"} 6.0' in text
    assert "millstream_ready 1.0" in text
    assert f"millstream_epoch {len(journal(settings))}.0" in text
    with urllib.request.urlopen(started["metrics"].replace("metrics", "readyz"), timeout=5) as answer:
        assert answer.status == 200


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_to_complain_about_on_a_live_worker(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    produce(settings, 0, 300)
    worker = start(**{"log.format": "json"})
    until(lambda: num_read(settings) == 300, worker)
    started = next(line for line in map(json.loads, worker.text().splitlines()) if line["event"] == "worker_started")
    with urllib.request.urlopen(started["metrics"], timeout=5) as answer:
        exposition = answer.read()

    checked = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)

    assert b"millstream_lists_published_total" in exposition
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_second_ctrl_c_leaves_at_once_and_what_was_open_is_repeated_by_the_next_worker(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    produce(settings, 0, NUM_EVENTS)
    worker = start(start_process=as_command, **{"batching.max_events": 1000})
    until(lambda: "worker_started" in worker.text(), worker)

    worker.process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in worker.text(), worker)
    worker.process.send_signal(signal.SIGINT)

    assert worker.wait() == 130, worker.text()
    heir = start()
    until(lambda: num_read(settings) == NUM_EVENTS, heir)
    heir.process.send_signal(signal.SIGTERM)
    assert heir.wait() == 0
    assert_every_event_is_accounted_for_once(settings, NUM_EVENTS)


def test_a_signal_while_the_worker_starts_ends_it_cleanly(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    away: dict[str, Any] = {
        "kafka.bootstrap_servers": "127.0.0.1:1",
        "kafka.bootstrap_timeout_ms": 60_000,
        "log.level": "DEBUG",
    }
    worker = start(start_process=as_command, **away)
    until(lambda: "Unable to connect" in worker.text() or "ECONNREFUSED" in worker.text(), worker)

    worker.process.send_signal(signal.SIGTERM)

    assert worker.wait() == 0, worker.text()
    assert "stopping" in worker.text()


def test_a_value_of_two_megabytes_is_a_dead_letter_and_the_stream_goes_on(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        producer.send(b"ana", b"x" * 2_000_000)
        producer.send(b"ana", event_bytes("ana", "a", "click"))

    worker = start()
    until(lambda: sum(entry.counts["learned"] for entry in journal(settings)) == 1, worker)
    worker.process.send_signal(signal.SIGTERM)

    assert worker.wait() == 0
    (letter,) = read(settings, settings.topics.dead_letters)
    told = dict(letter.headers)
    assert letter.key == b"ana"
    assert letter.value is not None
    assert 0 < len(letter.value) <= 64 * 1024
    assert set(letter.value) == {ord("x")}
    assert told["millstream.error.code"] == b"too_large"
    assert told["millstream.error.truncated_from_bytes"] == b"2000000"


def test_records_of_aborted_transactions_are_never_learned(
    settings: Settings, start: Callable[..., WorkerProcess]
) -> None:
    from kafka import KafkaProducer

    upstream = KafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, transactional_id=f"{settings.worker.group_id}-upstream"
    )
    upstream.init_transactions()
    for user, ends in (("ana", "commit"), ("mallory", "abort"), ("ben", "commit")):
        upstream.begin_transaction()
        upstream.send(settings.topics.events, key=user.encode(), value=event_bytes(user, "a", "click"))
        upstream.flush()
        getattr(upstream, f"{ends}_transaction")()
    upstream.close()

    worker = start()
    until(lambda: sum(entry.counts["learned"] for entry in journal(settings)) == 2, worker)
    worker.process.send_signal(signal.SIGTERM)

    assert worker.wait() == 0
    assert {record.key for record in read(settings, settings.topics.recommendations)} == {b"ana", b"ben"}


def test_missing_topics_refuse_the_start_with_the_command_to_type(broker: Any, tmp_path: Path) -> None:
    settings = kafka_settings(broker)
    worker = WorkerProcess(settings, tmp_path / "refused.log")

    assert worker.wait() == 4
    assert "millstream topics create" in worker.text()
    assert settings.topics.events in worker.text().replace("\n", "")
    worker.end()


def test_a_broker_that_is_not_there_ends_the_worker_with_its_own_exit_code(broker: Any, tmp_path: Path) -> None:
    settings = kafka_settings(broker)
    nowhere: dict[str, Any] = {
        "kafka.bootstrap_servers": "127.0.0.1:1",
        "kafka.bootstrap_timeout_ms": 500,
        "worker.broker_deadline_seconds": 2,
    }
    worker = WorkerProcess(settings, tmp_path / "unreachable.log", **nowhere)

    assert worker.wait() == 7
    assert "bootstrap_servers" in worker.text()
    worker.end()


def test_a_wrong_setting_ends_the_worker_before_anything_starts(tmp_path: Path) -> None:
    environment = {**os.environ, "MILLSTREAM_BATCHING_MAX_EVENT": "3"}

    ended = subprocess.run(
        [sys.executable, "-m", "millstream", "run"], env=environment, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 3
    assert "MILLSTREAM_BATCHING_MAX_EVENTS" in ended.stderr
