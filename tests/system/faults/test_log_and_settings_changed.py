"""Retention, new partitions, a topic made anew, other settings: what cannot be gone on from is refused."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import NewPartitions

from stream.config.settings import Settings
from stream.log.kafka import ensure_topics
from stream.log.kafka.topic_identity import PAUSE_SECONDS
from tests.support.oracle import assert_as_if_undisturbed
from tests.support.probes import killed, stopped
from tests.support.workers import WorkerProcess, journal, num_read, produce, read, until
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker

WHEN_ENDING: dict[str, Any] = {"checkpoints.interval_seconds": 86_400}


@pytest.fixture
def admin(settings: Settings) -> Iterator[Any]:
    admin: Any = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    yield admin
    admin.close()


def learned(settings: Settings, worker: WorkerProcess, num_events: int) -> WorkerProcess:
    until(lambda: num_read(settings) == num_events, worker)
    return worker


def refused(worker: WorkerProcess, *words: str) -> None:
    assert worker.wait() == 4, worker.text()
    for one in words:
        assert one in worker.text()


def test_retention_that_overtook_the_checkpoint_is_refused_until_a_beginning_is_chosen(
    settings: Settings, launch: Start, admin: Any
) -> None:
    produce(settings, 0, 40)
    assert stopped(learned(settings, launch(settings), 40)) == 0
    produce(settings, 40, 150)
    killed(learned(settings, launch(settings, **WHEN_ENDING), 150))
    entries = journal(settings)
    first, last = entries[1].positions, entries[-1].positions
    partition = next(name for name in last if last[name] > first[name] > entries[0].positions[name])
    admin.delete_records({TopicPartition(settings.topics.events, int(partition)): first[partition]})

    refused(
        launch(settings),
        f"[{partition}]: epoch 2 was made of the offsets [{entries[0].positions[partition]}, {first[partition]})",
        "retention overtook the newest usable checkpoint (epoch 1)",
        "events and what follows cannot be learned again",
        "--cold",
        "--from-beginning",
    )

    produce(settings, 150, 170)
    cold = learned(settings, launch(settings, "--cold", **WHEN_ENDING), 170)
    assert "model_starts_cold" in cold.text()
    killed(cold)
    heir = launch(settings)
    until(lambda: "worker_started" in heir.text(), heir)
    assert f"relearned_batches={len(journal(settings)) - len(entries)} " in heir.text()
    assert stopped(heir) == 0
    assert journal(settings)[-1].origin == len(entries)

    rebuilt = launch(settings, "--from-beginning", **WHEN_ENDING)
    until(lambda: "worker_started" in rebuilt.text(), rebuilt)
    assert f"relearned_batches={len(journal(settings)) - 2} " in rebuilt.text()
    produce(settings, 170, 190)
    killed(learned(settings, rebuilt, 190))
    assert journal(settings)[-1].origin == 2  # the batches 1 and 2 are not whole any more
    heir = launch(settings)
    until(lambda: "worker_started" in heir.text(), heir)
    assert stopped(heir) == 0


def test_partitions_that_were_added_are_refused_and_a_rebuild_takes_them_in(
    settings: Settings, launch: Start, admin: Any
) -> None:
    produce(settings, 0, 50)
    assert stopped(learned(settings, launch(settings), 50)) == 0
    admin.create_partitions({settings.topics.events: NewPartitions(4)})

    refused(launch(settings), "has 4 partitions", "was made with 3", "--from-beginning")

    produce(settings, 50, 100)
    assert stopped(learned(settings, launch(settings, "--from-beginning"), 100)) == 0
    assert stopped(launch_started(launch, settings)) == 0


def launch_started(launch: Start, settings: Settings, **overrides: Any) -> WorkerProcess:
    worker = launch(settings, **overrides)
    until(lambda: "worker_started" in worker.text(), worker)
    return worker


@pytest.mark.parametrize("num_events", [0, 200])
def test_a_topic_made_anew_under_its_name_is_refused(
    settings: Settings, launch: Start, admin: Any, num_events: int
) -> None:
    produce(settings, 0, 50)
    assert stopped(learned(settings, launch(settings), 50)) == 0
    admin.delete_topics([settings.topics.events])
    ensure_topics(settings)
    produce(settings, 1_000, 1_000 + num_events)

    refused(launch(settings), "made anew")


def test_a_changed_weight_is_refused_after_a_kill_and_taken_after_a_clean_stop_when_somebody_accepts_it(
    settings: Settings, launch: Start
) -> None:
    produce(settings, 0, 40)
    assert stopped(learned(settings, launch(settings), 40)) == 0
    produce(settings, 40, 80)
    killed(learned(settings, launch(settings, **WHEN_ENDING), 80))
    changed: dict[str, Any] = {"evidence.view": 0.7}

    refused(launch(settings, **changed), "evidence.view", "stop with SIGTERM")

    assert stopped(launch_started(launch, settings)) == 0
    refused(launch(settings, **changed), "evidence.view was 0.3 and is 0.7", "--accept-model-change")
    worker = launch(settings, "--accept-model-change", **changed, **WHEN_ENDING)
    produce(settings, 80, 160)
    killed(learned(settings, worker, 160))
    assert "settings_changed" in worker.text()
    assert 'settings="evidence.view was 0.3 and is 0.7"' in worker.text()
    heir = launch_started(launch, settings, **changed)  # refuses what is not bit for bit what was published
    assert f"relearned_batches={len(journal(settings)) - journal(settings)[-1].settings_since} " in heir.text()
    assert stopped(heir) == 0


def test_another_length_of_the_history_is_refused_even_after_a_clean_stop(settings: Settings, launch: Start) -> None:
    produce(settings, 0, 40)
    assert stopped(learned(settings, launch(settings), 40)) == 0

    refused(launch(settings, **{"model.history_length": 20}), "model.history_length", "--from-beginning")


def test_a_stop_in_mid_stream_commits_the_running_batch_and_leaves_nothing_to_relearn(
    settings: Settings, launch: Start, tmp_path: Path
) -> None:
    produce(settings, 0, 500)
    worker = launch(settings, **{"batching.max_events": 40})
    until(lambda: num_read(settings) > 0, worker)

    assert stopped(worker) == 0

    assert num_read(settings) < 500
    heir = launch_started(launch, settings)
    assert "relearned_batches=0 " in heir.text()
    assert stopped(learned(settings, heir, 500)) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 500)


def test_a_topic_made_anew_while_the_worker_stood_still_ends_it_before_anything_of_it_is_learned(
    settings: Settings, launch: Start, admin: Any
) -> None:
    worker = launch(settings)
    produce(settings, 0, 100)
    until(lambda: num_read(settings) == 100, worker)
    worker.process.send_signal(signal.SIGSTOP)
    admin.delete_topics([settings.topics.events])
    ensure_topics(settings)
    produce(settings, 1_000, 1_400)
    time.sleep(PAUSE_SECONDS + 0.5)  # what is tried here is time that passes for a process that stands still

    worker.process.send_signal(signal.SIGCONT)

    assert worker.wait() == 4, worker.text()
    assert "was made anew while this worker stood still" in worker.text()
    assert num_read(settings) == 100


def test_a_worker_that_stood_still_goes_on_where_the_topic_is_the_same(settings: Settings, launch: Start) -> None:
    worker = launch(settings)
    produce(settings, 0, 100)
    until(lambda: num_read(settings) == 100, worker)
    worker.process.send_signal(signal.SIGSTOP)
    produce(settings, 100, 200)
    time.sleep(PAUSE_SECONDS + 0.5)

    worker.process.send_signal(signal.SIGCONT)

    until(lambda: num_read(settings) == 200, worker)
    assert stopped(worker) == 0


def test_a_topic_of_dead_letters_that_is_gone_while_it_runs_loses_no_event(
    settings: Settings, admin: Any, launch: Start
) -> None:
    worker = launch(settings, **{"worker.delivery_timeout_ms": 5_000, "kafka.request_timeout_ms": 1_000})
    produce(settings, 1, 49)
    until(lambda: num_read(settings) == 48, worker)
    admin.delete_topics([settings.topics.dead_letters])
    produce(settings, 50, 100)  # the first one is a dead letter

    assert worker.wait() in {4, 6}, worker.text()
    assert num_read(settings) == 48
    refused = launch(settings)
    assert refused.wait() == 4, refused.text()
    assert "millstream topics create" in refused.text()
    ensure_topics(settings)
    again = launch(settings)
    until(lambda: num_read(settings) == 98, again)
    assert stopped(again) == 0
    assert len(read(settings, settings.topics.dead_letters)) == 1
