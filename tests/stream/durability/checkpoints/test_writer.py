"""The writing thread takes one state at a time, and nothing that goes wrong on it reaches who offered."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.durability.checkpoints import CheckpointStore, CheckpointWriter, Failed, Written
from tests.support.checkpoint_states import moment_at, state_at

LONG_SECONDS = 60.0
"""Longer than any of this takes; a test that hangs fails by it."""


class Gate:
    """Holds writes back at an instant until it is opened."""

    def __init__(self, instant: str) -> None:
        self._instant = instant
        self.is_reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, instant: str) -> None:
        if instant == self._instant:
            self.is_reached.set()
            assert self.open.wait(LONG_SECONDS)


def ticking() -> Callable[[], float]:
    """Return a clock that goes on by a quarter of a second whenever it is asked."""
    ticks = iter(range(10**6))
    return lambda: next(ticks) * 0.25


def test_an_offer_is_written_and_reported_once(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), 2)
    writer = CheckpointWriter(store, lambda: 1_234, ticking())

    assert writer.offer(moment_at(1), state_at(1))
    assert writer.wait(LONG_SECONDS)

    [written] = writer.outcomes()
    size = (tmp_path / "epoch-000000000001" / "state.safetensors").stat().st_size
    manifest = store.load("epoch-000000000001")[0]
    assert written == Written(manifest=manifest, seconds=0.25, num_bytes=size)
    assert isinstance(written, Written)
    assert written.name == "epoch-000000000001"
    assert manifest.created_at_ms == 1_234
    assert writer.outcomes() == []
    assert writer.close(LONG_SECONDS)


def test_an_offer_during_a_write_is_not_taken(tmp_path: Path) -> None:
    gate = Gate("checkpoint_written")
    store = CheckpointStore(str(tmp_path), 2, gate)
    writer = CheckpointWriter(store, lambda: 0)
    assert not writer.is_busy()

    assert writer.offer(moment_at(1), state_at(1))
    assert gate.is_reached.wait(LONG_SECONDS)
    assert writer.is_busy()
    assert not writer.offer(moment_at(2), state_at(2))
    assert not writer.wait(0.0)
    assert writer.outcomes() == []

    gate.open.set()
    assert writer.wait(LONG_SECONDS)
    assert writer.offer(moment_at(3), state_at(3))
    assert writer.close(LONG_SECONDS)
    assert store.names() == ["epoch-000000000003", "epoch-000000000001"]
    assert len(writer.outcomes()) == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError("no memory"), KeyError("bug")])
def test_a_failure_is_an_outcome_and_the_next_write_succeeds(error: Exception, tmp_path: Path) -> None:
    failures = iter([error])

    def fail_once(instant: str) -> None:
        if instant == "checkpoint_synced" and (failure := next(failures, None)):
            raise failure

    store = CheckpointStore(str(tmp_path), 2, fail_once)
    writer = CheckpointWriter(store, lambda: 0, ticking())
    for epoch in (1, 2):
        assert writer.offer(moment_at(epoch), state_at(epoch))
        assert writer.wait(LONG_SECONDS)

    failed, written = writer.outcomes()
    assert isinstance(failed, Failed)
    assert (failed.epoch, failed.seconds, failed.is_fenced) == (1, 0.25, False)
    assert str(error.args[-1]) in failed.reason
    assert isinstance(written, Written)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000000000002"]
    assert writer.close(LONG_SECONDS)


def test_a_writer_that_lost_its_folder_says_so(tmp_path: Path) -> None:
    old, new = CheckpointStore(str(tmp_path), 2), CheckpointStore(str(tmp_path), 2)
    old.lock("owner")
    new.lock("owner", wait_seconds=0.0)
    writer = CheckpointWriter(old, lambda: 0)

    assert writer.offer(moment_at(1), state_at(1))
    assert writer.close(LONG_SECONDS)

    [failed] = writer.outcomes()
    assert isinstance(failed, Failed)
    assert failed.is_fenced
    assert new.names() == []


def test_closing_finishes_what_was_offered_and_takes_no_more(tmp_path: Path) -> None:
    gate = Gate("checkpoint_synced")
    store = CheckpointStore(str(tmp_path), 2, gate)
    writer = CheckpointWriter(store, lambda: 0)
    assert writer.offer(moment_at(1), state_at(1))

    assert not writer.close()  # a disk that hangs does not hold the end up
    assert not writer.offer(moment_at(2), state_at(2))

    gate.open.set()
    assert writer.close(LONG_SECONDS)
    assert not writer.offer(moment_at(2), state_at(2))
    assert store.names() == ["epoch-000000000001"]


def test_a_write_that_is_under_way_when_the_folder_is_given_back_is_not_finished(tmp_path: Path) -> None:
    gate = Gate("checkpoint_synced")
    store = CheckpointStore(str(tmp_path), 2, gate)
    store.lock("owner")
    writer = CheckpointWriter(store, lambda: 0)
    assert writer.offer(moment_at(1), state_at(1))
    assert gate.is_reached.wait(LONG_SECONDS)

    store.unlock()
    gate.open.set()

    assert writer.close(LONG_SECONDS)
    [failed] = writer.outcomes()
    assert isinstance(failed, Failed)
    assert store.names() == []


def test_a_state_is_let_go_once_it_is_written(tmp_path: Path) -> None:
    class Held(dict[str, int]):
        """A state that can tell when it is gone."""

        def __init__(self) -> None:
            super().__init__(steps=1)
            self.is_gone = gone

        def __del__(self) -> None:
            self.is_gone.set()

    gone = threading.Event()
    writer = CheckpointWriter(CheckpointStore(str(tmp_path), 2), lambda: 0)

    assert writer.offer(moment_at(1), Held())
    assert writer.wait(LONG_SECONDS)

    assert gone.wait(LONG_SECONDS)
    assert not writer.is_busy()
    assert writer.close(LONG_SECONDS)
