"""The broker is frozen, stopped, killed, not there yet, or another one."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import EmbeddedBroker, free_port
from stream.config.settings import Settings
from stream.log.kafka import ensure_topics
from tests.support.oracle import assert_as_if_undisturbed
from tests.support.probes import killed, probe, stopped
from tests.support.proxy import END_TXN, Proxy
from tests.support.workers import WorkerProcess, journal, num_read, produce, until
from tests.system.faults.conftest import Start, three_partitions

pytestmark = pytest.mark.broker

IMPATIENT: dict[str, Any] = {"kafka.request_timeout_ms": 1_000, "kafka.bootstrap_timeout_ms": 500}
WORDS_OF_REFUSAL = (
    "is outside the log",
    "They are written in one transaction",
    "have lost what they had acknowledged",
    "does not continue what",
    "is empty, and checkpoint",
    "millstream topics create",
    "retention overtook",
)


@pytest.fixture
def own(broker: Any, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of the test's own, which can be frozen, stopped and started again on its data and port."""
    with EmbeddedBroker(free_port(), tmp_path / "broker") as own:
        yield own


def is_ready(port: int, status: int, worker: WorkerProcess) -> None:
    until(lambda: probe(port, "readyz") == status, worker)


def test_an_idle_worker_waits_for_a_frozen_and_for_a_restarted_broker(
    own: EmbeddedBroker, launch: Start, tmp_path: Path
) -> None:
    settings, port = three_partitions(own), free_port()
    produce(settings, 0, 100)
    worker = launch(settings, **{"metrics.port": port, **IMPATIENT})
    until(lambda: num_read(settings) == 100, worker)
    is_ready(port, 200, worker)

    os.kill(own.pid, signal.SIGSTOP)
    is_ready(port, 503, worker)
    assert probe(port, "livez") == 200
    os.kill(own.pid, signal.SIGCONT)
    is_ready(port, 200, worker)
    produce(settings, 100, 150)
    until(lambda: num_read(settings) == 150, worker)

    own.stop()
    is_ready(port, 503, worker)
    assert probe(port, "livez") == 200
    own.start()
    is_ready(port, 200, worker)
    produce(settings, 150, 200)
    until(lambda: num_read(settings) == 200, worker)
    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 200)


def test_a_worker_that_starts_before_its_broker_waits_for_it(own: EmbeddedBroker, launch: Start) -> None:
    settings, port = three_partitions(own), free_port()
    produce(settings, 0, 50)
    own.stop()

    worker = launch(settings, **{"metrics.port": port, **IMPATIENT})

    until(lambda: "waiting_for_brokers" in worker.text(), worker)
    assert (probe(port, "readyz"), probe(port, "livez")) == (503, 200)
    own.start()
    until(lambda: num_read(settings) == 50, worker)
    is_ready(port, 200, worker)
    assert stopped(worker) == 0


def test_a_broker_that_lost_its_tail_is_refused_or_gone_on_from_but_never_built_upon_in_silence(
    own: EmbeddedBroker, launch: Start, tmp_path: Path
) -> None:
    settings = three_partitions(own)
    produce(settings, 0, 200)
    worker = launch(settings, **IMPATIENT, **{"checkpoints.interval_seconds": 0.2})
    until(lambda: num_read(settings) == 200 and "checkpoint_written" in worker.text(), worker)
    epoch = len(journal(settings))

    own.kill()
    time.sleep(0.5)
    killed(worker)
    own.start()

    again = launch(settings, **IMPATIENT)
    until_ended_or(again, "worker_started")
    if (code := again.process.poll()) is None:
        assert len(journal(settings)) >= epoch - 1
        assert stopped(again) == 0
        assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 200)
    else:
        assert code == 4, again.text()
        assert any(words in again.text() for words in WORDS_OF_REFUSAL), again.text()


def test_a_broker_that_lost_its_tail_ends_the_worker_and_what_is_left_is_gone_on_from(
    own: EmbeddedBroker, launch: Start, tmp_path: Path
) -> None:
    settings, data = three_partitions(own), tmp_path / "broker"
    produce(settings, 0, 100)
    worker = launch(settings, **IMPATIENT, **{"checkpoints.interval_seconds": 0.2})
    until(lambda: num_read(settings) == 100, worker)
    own.stop()
    shutil.copytree(data, tmp_path / "kept")
    own.start()
    produce(settings, 100, 200)
    until(lambda: num_read(settings) == 200 and "checkpoint_written epoch=6" in worker.text(), worker)

    own.stop()
    shutil.rmtree(data)
    shutil.copytree(tmp_path / "kept", data)
    own.start()

    assert worker.wait() == 4, worker.text()
    assert "no longer in the log" in worker.text()
    again = launch(settings)
    assert again.wait() == 4, again.text()
    assert "knows epoch 6, and the newest one" in again.text()
    assert "have lost what they had acknowledged" in again.text()
    produce(settings, 100, 150)
    heir = launch(settings, **{"checkpoints.url": tmp_path / "new"})  # the old ones moved away, as the message says
    until(lambda: num_read(settings) == 150, heir)
    assert stopped(heir) == 0
    assert_as_if_undisturbed(settings, tmp_path / "new", 150)


def test_a_broker_killed_in_the_middle_of_a_commit_shows_all_of_the_batch_or_nothing(
    own: EmbeddedBroker, launch: Start, tmp_path: Path
) -> None:
    settings = three_partitions(own)
    with Proxy(int(own.bootstrap_servers.rpartition(":")[2])) as proxy:
        overrides = {"kafka.bootstrap_servers": proxy.bootstrap_servers, **IMPATIENT}
        produce(settings, 0, 100)
        worker = launch(settings, **overrides, **{"checkpoints.interval_seconds": 0.2})
        until(lambda: num_read(settings) == 100 and "checkpoint_written" in worker.text(), worker)
        commit = proxy.inject(END_TXN, "hold")
        produce(settings, 100, 140)
        assert commit.came.wait(60)
        own.kill()
        own.start()
        killed(worker)

        again = launch(settings, **overrides)
        until_ended_or(again, "worker_started")
        if (code := again.process.poll()) is None:
            until(lambda: num_read(settings) >= 100, again)
            assert stopped(again) == 0
            assert_as_if_undisturbed(settings, tmp_path / "checkpoints", num_read(settings))
        else:
            assert code == 4, again.text()
            assert any(words in again.text() for words in WORDS_OF_REFUSAL), again.text()


def until_ended_or(worker: WorkerProcess, words: str) -> None:
    deadline = time.monotonic() + 60
    while worker.process.poll() is None and words not in worker.text():
        assert time.monotonic() < deadline, worker.text()
        time.sleep(0.05)


def test_checkpoints_are_refused_beside_a_journal_that_is_not_theirs(
    settings: Settings, own: EmbeddedBroker, launch: Start, tmp_path: Path
) -> None:
    elsewhere = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": own.bootstrap_servers})}
    )
    ensure_topics(elsewhere)
    produce(settings, 0, 100)
    worker = launch(settings)
    until(lambda: num_read(settings) == 100, worker)
    assert stopped(worker) == 0
    num_epochs = len(journal(settings))

    def refused(url: str, why: str) -> None:
        shutil.copytree(tmp_path / "checkpoints", tmp_path / url)
        worker = launch(elsewhere, **{"checkpoints.url": tmp_path / url})
        assert worker.wait() == 4, worker.text()
        assert why in worker.text()
        assert "kafka.bootstrap_servers" in worker.text() or "--from-beginning" in worker.text()

    def lived_to(num_events: int) -> None:
        produce(elsewhere, num_read(elsewhere), num_events)
        worker = launch(elsewhere, **{"checkpoints.url": tmp_path / "theirs"})
        until(lambda: num_read(elsewhere) == num_events, worker)
        assert stopped(worker) == 0

    refused("beside-an-empty-one", "is empty, and checkpoint")
    lived_to(40)
    assert len(journal(elsewhere)) < num_epochs
    refused("beside-a-shorter-one", "have lost what they had acknowledged")
    lived_to(200)
    assert len(journal(elsewhere)) > num_epochs
    refused("beside-a-longer-one", "does not continue what")
