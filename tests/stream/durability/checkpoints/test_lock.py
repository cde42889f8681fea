"""One worker per folder; one that hangs loses it and finds that out before it writes."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stream.durability.checkpoints import CheckpointStore, CheckpointUnlocked
from stream.errors import FencedError, RefusedToStart
from stream.failpoints import unwatched
from tests.support.checkpoint_states import exit_status, fork, moment_at, state_at

OWNER = "millstream-0 on events"
FENCED = FencedError.exit_code


class Holders:
    """Starts processes that hold a folder and hang."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def start(
        self, folder: Path, then: Callable[[CheckpointStore], int], watch: Callable[[str], None] | None = None
    ) -> int:
        """Start one that stops itself (SIGSTOP), in `watch` or once it has the lock; continued, it does `then`."""

        def work() -> int:
            store = CheckpointStore(str(folder), 2, watch or unwatched)
            store.lock(OWNER)
            if watch is None:
                os.kill(os.getpid(), signal.SIGSTOP)
            return then(store)

        self.pids.append(fork(work))
        assert os.WIFSTOPPED(os.waitpid(self.pids[-1], os.WUNTRACED)[1])
        return self.pids[-1]


@pytest.fixture
def holders() -> Iterator[Holders]:
    started = Holders()
    yield started
    for pid in started.pids:  # a test that failed leaves one that hangs, and with it whoever reads our output
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def go_on(pid: int) -> int:
    os.kill(pid, signal.SIGCONT)
    return exit_status(pid)


def write(epoch: int) -> Callable[[CheckpointStore], int]:
    def attempt(store: CheckpointStore) -> int:
        try:
            store.write(moment_at(epoch), state_at(epoch), 0)
        except FencedError:
            return FENCED
        return 0

    return attempt


def leave(_: CheckpointStore) -> int:
    return 0


def test_a_free_folder_is_locked_and_says_by_whom(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path), 2)
    store.lock(OWNER)

    said = json.loads((tmp_path / "lock.json").read_bytes())
    assert said == {"owner": OWNER, "pid": os.getpid(), "host": os.uname().nodename}
    assert write(1)(store) == 0


def test_a_folder_held_by_another_owner_is_refused_with_its_name_and_what_to_do(
    holders: Holders, tmp_path: Path
) -> None:
    pid = holders.start(tmp_path, write(1))

    with pytest.raises(RefusedToStart) as caught:
        CheckpointStore(str(tmp_path), 2).lock("millstream-1 on events", wait_seconds=0.0)

    assert str(caught.value) == (
        f"{tmp_path}: held by millstream-0 on events (process {pid} on {os.uname().nodename}); millstream-1 on events "
        "needs a folder of its own in checkpoints.url"
    )
    assert go_on(pid) == 0  # the holder was not disturbed


def test_a_folder_is_free_once_its_holder_was_killed_whoever_that_was(holders: Holders, tmp_path: Path) -> None:
    pid = holders.start(tmp_path, leave)
    os.kill(pid, signal.SIGKILL)
    assert exit_status(pid) == -signal.SIGKILL

    store = CheckpointStore(str(tmp_path), 2)
    store.lock("millstream-1 on events", wait_seconds=0.0)

    assert write(1)(store) == 0


def test_a_holder_of_the_same_owner_that_leaves_in_time_is_waited_for(holders: Holders, tmp_path: Path) -> None:
    pid = holders.start(tmp_path, leave)
    inode = (tmp_path / "lock.json").stat().st_ino
    os.kill(pid, signal.SIGCONT)

    CheckpointStore(str(tmp_path), 2).lock(OWNER, wait_seconds=60.0)

    assert exit_status(pid) == 0
    assert (tmp_path / "lock.json").stat().st_ino == inode  # handed on, not taken away


def test_a_holder_of_the_same_owner_that_hangs_loses_the_folder_and_cannot_write(
    holders: Holders, tmp_path: Path
) -> None:
    pid = holders.start(tmp_path, write(1))

    store = CheckpointStore(str(tmp_path), 2)
    store.lock(OWNER, wait_seconds=0.1)
    assert write(2)(store) == 0

    assert go_on(pid) == FENCED
    assert store.names() == ["epoch-000000000002"]
    assert write(3)(store) == 0


@pytest.mark.parametrize("instant", ["checkpoint_written", "checkpoint_synced", "checkpoint_renamed"])
def test_a_holder_that_hung_in_the_middle_of_a_write_does_not_end_it(
    instant: str, holders: Holders, tmp_path: Path
) -> None:
    def stop(at: str) -> None:
        if at == instant:
            os.kill(os.getpid(), signal.SIGSTOP)

    with_two = CheckpointStore(str(tmp_path), 2)
    for epoch in (1, 2):
        with_two.write(moment_at(epoch), state_at(epoch), 0)
    pid = holders.start(tmp_path, write(3), stop)

    store = CheckpointStore(str(tmp_path), 2)
    store.lock(OWNER, wait_seconds=0.1)
    before = store.names()

    assert go_on(pid) == FENCED  # the last one before it removes an old checkpoint
    assert store.names() == before
    assert [store.load(name)[0].moment.epoch for name in before]
    assert list(tmp_path.glob(".tmp-*")) == []


def test_a_hanging_worker_is_taken_over_from_more_than_once(tmp_path: Path) -> None:
    first, second, third = (CheckpointStore(str(tmp_path), 2) for _ in range(3))
    for store in (first, second, third):
        store.lock(OWNER, wait_seconds=0.0)

    assert [write(1)(store) for store in (first, second, third)] == [FENCED, FENCED, 0]


@pytest.mark.parametrize("damage", ["the file is removed", "the folder is removed", "a copy stands in its place"])
def test_a_lock_that_is_gone_is_no_fence_and_can_be_taken_again(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    store = CheckpointStore(str(folder), 2)
    store.lock(OWNER)
    if damage == "the folder is removed":
        shutil.rmtree(folder)
    else:
        (folder / "lock.json").rename(folder / "old.json")
    if damage == "a copy stands in its place":
        (folder / "lock.json").write_bytes((folder / "old.json").read_bytes())

    with pytest.raises(CheckpointUnlocked, match="the lock of this worker is gone; the folder is held by nobody"):
        store.write(moment_at(1), state_at(1), 0)
    store.lock(OWNER, wait_seconds=0.0)

    assert write(2)(store) == 0
    with pytest.raises(RefusedToStart, match="held by"):
        CheckpointStore(str(folder), 2).lock("millstream-1 on events", wait_seconds=0.0)


def test_a_folder_that_a_worker_of_another_owner_made_anew_is_not_written_to_and_is_no_fence(tmp_path: Path) -> None:
    store, foreign = CheckpointStore(str(tmp_path), 2), CheckpointStore(str(tmp_path), 2)
    store.lock(OWNER)
    (tmp_path / "lock.json").unlink()
    foreign.lock("millstream-1 on events")

    with pytest.raises(CheckpointUnlocked, match="held by millstream-1 on events"):
        store.write(moment_at(1), state_at(1), 0)


def test_an_unlocked_folder_is_free_and_its_former_holder_cannot_write(tmp_path: Path) -> None:
    first, second = CheckpointStore(str(tmp_path), 2), CheckpointStore(str(tmp_path), 2)
    first.lock(OWNER)
    first.unlock()
    first.unlock()

    second.lock("millstream-1 on events", wait_seconds=0.0)

    with pytest.raises(FencedError, match="given its checkpoints back"):
        first.write(moment_at(1), state_at(1), 0)
    second.unlock()
    first.lock(OWNER, wait_seconds=0.0)
    assert write(1)(first) == 0


def test_a_lock_without_a_name_in_it_is_refused_and_not_taken_over(tmp_path: Path) -> None:
    CheckpointStore(str(tmp_path), 2).lock(OWNER)
    holding = CheckpointStore(str(tmp_path), 2)
    holding.lock(OWNER, wait_seconds=0.0)
    (tmp_path / "lock.json").write_bytes(b"")

    with pytest.raises(RefusedToStart, match="does not say who it is"):
        CheckpointStore(str(tmp_path), 2).lock(OWNER, wait_seconds=0.0)


def test_what_a_killed_worker_left_is_removed_by_who_locks_and_not_by_who_looks(tmp_path: Path) -> None:
    (tmp_path / ".tmp-epoch-000000000001-00").mkdir()
    (tmp_path / ".tmp-epoch-000000000001-00" / "state.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-lock-00").write_bytes(b"")

    store = CheckpointStore(str(tmp_path), 2)
    assert len(list(tmp_path.iterdir())) == 2

    store.lock(OWNER)
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]
