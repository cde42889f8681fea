"""Two workers with one identity: one survives, and what the other still does changes nothing."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from stream.config.settings import Settings
from tests.support.oracle import assert_as_if_undisturbed
from tests.support.probes import stopped
from tests.support.proxy import OFFSET_FETCH, Proxy
from tests.support.workers import DEADLINE_SECONDS, assert_every_event_is_accounted_for_once, num_read, produce, until
from tests.system.faults.conftest import Start

pytestmark = pytest.mark.broker

WHEN_ENDING: dict[str, Any] = {"checkpoints.interval_seconds": 86_400}


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file of the folder with inode and time of change."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def test_a_frozen_worker_that_was_replaced_ends_fenced_and_does_not_touch_the_checkpoints(
    settings: Settings, launch: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    produce(settings, 0, 100)
    zombie = launch(settings, **{"checkpoints.interval_seconds": 10})
    until(lambda: num_read(settings) == 100, zombie)
    zombie.process.send_signal(signal.SIGSTOP)
    heir = launch(settings, **WHEN_ENDING)  # waits for the folder's lock, and takes it from the frozen one
    until(lambda: "checkpoint_written" in heir.text(), heir)  # of what it had to re-learn
    before = contents(folder)

    zombie.process.send_signal(signal.SIGCONT)  # idle, and about to write down what it has learned

    assert zombie.wait() == 5, zombie.text()
    assert "has taken over these checkpoints" in zombie.text()
    assert contents(folder) == before
    produce(settings, 100, 150)
    until(lambda: num_read(settings) == 150, heir)
    assert stopped(heir) == 0
    assert_as_if_undisturbed(settings, folder, 150)


def test_of_two_workers_started_at_the_same_moment_one_survives(
    settings: Settings, launch: Start, tmp_path: Path
) -> None:
    produce(settings, 0, 200)
    pair = [launch(settings), launch(settings)]
    deadline, num_events = time.monotonic() + DEADLINE_SECONDS, 200
    while (codes := [worker.process.poll() for worker in pair]) == [None, None]:
        assert time.monotonic() < deadline, pair[0].text() + pair[1].text()
        if num_read(settings) == num_events:  # a fenced one finds out when it commits
            produce(settings, num_events, num_events + 50)
            num_events += 50
        time.sleep(0.1)

    assert set(codes) == {None, 5}
    survivor = pair[codes.index(None)]
    until(lambda: num_read(settings) == num_events, survivor)
    assert stopped(survivor) == 0
    assert_every_event_is_accounted_for_once(settings, num_events)
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", num_events)


def test_a_worker_fenced_while_it_started_does_not_keep_the_newer_one_from_writing_checkpoints(
    settings: Settings, broker: Any, launch: Start, tmp_path: Path
) -> None:
    produce(settings, 0, 100)
    with Proxy(int(broker.bootstrap_servers.rpartition(":")[2])) as proxy:
        held = proxy.inject(OFFSET_FETCH, "hold")
        late = launch(settings, **{"kafka.bootstrap_servers": proxy.bootstrap_servers})
        assert held.came.wait(60)  # it is the owner by now, but has not got as far as the folder
        newer = launch(settings, **WHEN_ENDING)
        until(lambda: num_read(settings) == 100, newer)

        held.release()
        until(lambda: "worker_started" in late.text() or late.process.poll() is not None, newer)
        produce(settings, 100, 200)

        assert late.wait() == 5, late.text()
    until(lambda: num_read(settings) == 200, newer)
    assert stopped(newer) == 0
    assert_as_if_undisturbed(settings, tmp_path / "checkpoints", 200)
