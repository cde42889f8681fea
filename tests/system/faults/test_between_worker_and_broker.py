"""The way between worker and broker fails: cut, slow, blocked, an answer lost, a request that comes too late."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millstream.local.embedded_broker import free_port
from stream.config.settings import Settings
from tests.support.oracle import assert_as_if_undisturbed
from tests.support.probes import probe, stopped
from tests.support.proxy import ADD_PARTITIONS, END_TXN, FETCH, INIT_PRODUCER_ID, PRODUCE, TXN_OFFSET_COMMIT, Proxy
from tests.support.workers import (
    WorkerProcess,
    assert_every_event_is_accounted_for_once,
    journal,
    num_read,
    produce,
    until,
)
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker

AGAIN = {6, 7, 8}
"""Exit codes after which a worker is started again."""
DEADLINE_SECONDS = 90.0
COORDINATOR_LOAD_IN_PROGRESS, NOT_ENOUGH_REPLICAS_AFTER_APPEND, CONCURRENT_TRANSACTIONS = 14, 20, 51
TOPIC_AUTHORIZATION_FAILED, TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 29, 53


@pytest.fixture
def proxy(broker: Any) -> Iterator[Proxy]:
    with Proxy(int(broker.bootstrap_servers.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture
def start(settings: Settings, proxy: Proxy, launch: Start) -> Start:
    def start(*flags: str, **overrides: Any) -> WorkerProcess:
        overrides = {"kafka.bootstrap_servers": proxy.bootstrap_servers, **overrides}
        return launch(settings, *flags, **overrides)

    return start


def carried_on(start: Start, worker: WorkerProcess, is_done: Callable[[], bool]) -> WorkerProcess:
    """Start the worker again as often as its exit codes ask for it, until all is done; return it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_done():
        assert time.monotonic() < deadline, worker.text()
        if (code := worker.process.poll()) is not None:
            assert code in AGAIN, worker.text()
            worker = start()
        time.sleep(0.05)
    return worker


def has_read(settings: Settings, num_events: int) -> bool:
    return num_read(settings) == num_events


@pytest.mark.parametrize("what", ["cut_before", "lose_answer", "half_open"])
def test_a_connection_cut_at_any_request_loses_and_repeats_nothing(
    what: Any, settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    overrides = {"kafka.request_timeout_ms": 2_000} if what == "half_open" else {}
    worker, num_events = start(**overrides), 0
    for api_key in (FETCH, ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT, END_TXN):
        fault = proxy.inject(api_key, what, skip=1)
        produce(settings, num_events, num_events + 100)
        num_events += 100
        worker = carried_on(start, worker, partial(has_read, settings, num_events))
        assert fault.came.is_set()

    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", num_events)


@pytest.mark.parametrize(
    ("api_key", "codes"),
    [
        (PRODUCE, [NOT_ENOUGH_REPLICAS_AFTER_APPEND] * 3),
        (INIT_PRODUCER_ID, [COORDINATOR_LOAD_IN_PROGRESS] * 5),
        (END_TXN, [COORDINATOR_LOAD_IN_PROGRESS] * 5),
        (END_TXN, [CONCURRENT_TRANSACTIONS] * 5),
    ],
)
def test_brokers_that_are_not_ready_yet_are_asked_again_and_nothing_is_there_twice(
    api_key: int, codes: list[int], settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    proxy.codes[api_key] += codes
    worker = start()
    produce(settings, 0, 100)
    until(lambda: num_read(settings) == 100, worker)

    assert proxy.codes[api_key] == []
    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 100)


@pytest.mark.parametrize("api_key", [FETCH, ADD_PARTITIONS, PRODUCE, TXN_OFFSET_COMMIT])
def test_a_request_that_arrives_twice_counts_once(
    api_key: int, settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    worker = start()
    repeated = proxy.inject(api_key, "repeat", skip=1)
    produce(settings, 0, 100)
    until(lambda: num_read(settings) == 100, worker)

    assert repeated.answered.is_set()
    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 100)


def test_all_connections_cut_again_and_again_lose_and_repeat_nothing(
    settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    produce(settings, 0, 500)
    worker = start()
    for share in (0.1, 0.4, 0.7):
        worker = carried_on(start, worker, lambda share=share: num_read(settings) > share * 500)  # type: ignore[misc]
        proxy.cut()
    worker = carried_on(start, worker, lambda: num_read(settings) == 500)

    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 500)


def test_slow_answers_only_slow_the_worker_down(settings: Settings, proxy: Proxy, start: Start, tmp_path: Path) -> None:
    produce(settings, 0, 100)
    proxy.delay_seconds = 0.03
    worker = start()
    until(lambda: num_read(settings) == 100, worker)

    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 100)


def test_a_commit_without_an_answer_ends_the_worker_at_its_deadline(
    settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    worker = start(**{"worker.commit_deadline_seconds": 1})
    until(lambda: "worker_started" in worker.text(), worker)
    held = proxy.inject(END_TXN, "hold", skip=1)
    produce(settings, 0, 150)
    assert held.came.wait(DEADLINE_SECONDS)
    proxy.is_blocked = True
    num_committed = len(journal(settings))

    assert worker.wait() == 6, worker.text()
    assert "rolled back" in worker.text()
    assert len(journal(settings)) == num_committed

    proxy.is_blocked = False
    heir = start()
    until(lambda: num_read(settings) == 150, heir)
    held.release()
    assert stopped(heir) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 150)


def test_a_commit_that_comes_late_but_in_time_is_a_commit(
    settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    worker = start()
    until(lambda: "worker_started" in worker.text(), worker)
    held = proxy.inject(END_TXN, "hold", skip=1)
    produce(settings, 0, 200)
    assert held.came.wait(DEADLINE_SECONDS)
    time.sleep(1.0)
    held.release()
    until(lambda: num_read(settings) == 200, worker)

    assert stopped(worker) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 200)


def test_a_commit_that_arrives_after_the_next_worker_took_over_commits_nothing(
    settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    worker = start(**{"worker.commit_deadline_seconds": 1})
    until(lambda: "worker_started" in worker.text(), worker)
    late = proxy.inject(END_TXN, "hold")
    produce(settings, 0, 40)
    assert late.came.wait(DEADLINE_SECONDS)
    assert worker.wait() == 6, worker.text()
    second = proxy.inject(END_TXN, "hold")
    heir = start()
    assert second.came.wait(DEADLINE_SECONDS)  # its first transaction is open

    late.release()

    assert journal(settings) == []
    second.release()
    until(lambda: num_read(settings) == 40, heir)
    produce(settings, 40, 100)
    until(lambda: num_read(settings) == 100, heir)
    assert stopped(heir) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 100)


def test_an_idle_worker_that_gets_no_answers_is_alive_and_not_ready_and_ends_at_its_deadline(
    settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    port = free_port()
    produce(settings, 0, 100)
    worker = start(**{"metrics.port": port, "worker.broker_deadline_seconds": 12, "kafka.request_timeout_ms": 1_000})
    until(lambda: num_read(settings) == 100, worker)
    until(lambda: probe(port, "readyz") == 200, worker)

    proxy.is_blocked = True

    until(lambda: probe(port, "readyz") == 503, worker)
    assert probe(port, "livez") == 200
    assert worker.wait() == 7, worker.text()
    assert "have not answered" in worker.text()
    proxy.is_blocked = False
    produce(settings, 100, 200)
    heir = start()
    until(lambda: num_read(settings) == 200, heir)
    assert stopped(heir) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 200)


@pytest.mark.parametrize(("code", "exit_code"), [(47, 6), (90, 5)], ids=["invalid epoch", "fenced"])
def test_a_refused_epoch_is_doubt_where_nobody_took_over_and_a_fence_is_a_fence(
    code: int, exit_code: int, settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    produce(settings, 0, 50)
    first = start()
    until(lambda: has_read(settings, 50), first)
    proxy.codes[END_TXN].append(code)

    produce(settings, 50, 100)

    assert first.wait() == exit_code, first.text()
    second = start()
    until(lambda: has_read(settings, 100), second)
    assert stopped(second) == 0
    assert_every_event_is_accounted_for_once(settings, 100)


def test_brokers_that_are_slow_are_not_silent(settings: Settings, proxy: Proxy, start: Start) -> None:
    port = free_port()
    produce(settings, 0, 100)
    overrides: dict[str, Any] = {"metrics.port": port, "worker.broker_deadline_seconds": 6, "batching.max_events": 100}
    worker = start(**overrides)
    until(lambda: num_read(settings) == 100, worker)

    proxy.delay_seconds = 2.2
    began = time.monotonic()
    while time.monotonic() - began < 15:
        assert worker.process.poll() is None, worker.text()
        time.sleep(0.5)

    assert probe(port, "readyz") == 200
    produce(settings, 100, 150)
    until(lambda: num_read(settings) == 150, worker)
    assert probe(port, "readyz") == 200
    proxy.delay_seconds = 0.0
    assert stopped(worker) == 0


@pytest.mark.parametrize(
    ("api_key", "code"),
    [(PRODUCE, TOPIC_AUTHORIZATION_FAILED), (INIT_PRODUCER_ID, TRANSACTIONAL_ID_AUTHORIZATION_FAILED)],
)
def test_a_right_that_is_taken_away_ends_the_worker_with_what_to_grant_and_nothing_is_lost(
    api_key: int, code: int, settings: Settings, proxy: Proxy, start: Start, tmp_path: Path
) -> None:
    proxy.codes[api_key].append(code)
    worker = start()
    produce(settings, 0, 100)

    assert worker.wait() == 4, worker.text()
    assert "docs/security.md" in worker.text()
    again = start()
    until(lambda: num_read(settings) == 100, again)
    assert stopped(again) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 100)
