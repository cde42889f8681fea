"""Whatever ends a write half-way, the checkpoints before it stay, no broken one appears, and the next write works."""

import errno
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from online_models import digest
from stream.durability.checkpoints import CheckpointStore, CheckpointUnavailable
from stream.failpoints import INSTANTS
from tests.support.checkpoint_states import exit_status, fork, moment_at, state_at

INSTANTS_OF_A_WRITE = [name for name in INSTANTS if name.startswith("checkpoint_") and name != "checkpoint_loaded"]
CALLS = ("open", "os.chmod", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die(folder: Path, epoch: int, value: int, arm: Callable[[], Callable[[str], None]]) -> int:
    """Write a checkpoint in a child process that kills itself where `arm` says; return how it ended."""

    def work() -> int:
        store = CheckpointStore(str(folder), 2, arm())
        store.lock("owner")
        store.write(moment_at(epoch), state_at(value), 0)
        return 0

    return exit_status(fork(work))


def at_instant(wanted: str) -> Callable[[], Callable[[str], None]]:
    return lambda: lambda instant: die() if instant == wanted else None


def at_call(number: int, folder: Path) -> Callable[[], Callable[[str], None]]:
    """Kill before the given call that touches `folder`; 0 is the first."""

    def arm() -> Callable[[str], None]:
        seen = [0]

        def hook(event: str, args: tuple[object, ...]) -> None:
            if event in CALLS and str(folder) in str(args[0]):
                if seen[0] == number:
                    die()
                seen[0] += 1

        sys.addaudithook(hook)  # for good, which is why this is done in the child only
        return lambda _: None

    return arm


def prepared(folder: Path) -> None:
    store = CheckpointStore(str(folder), 2)
    for epoch in (1, 2):
        store.write(moment_at(epoch), state_at(epoch), 0)


def assert_whole(folder: Path, epoch: int, value: int) -> None:
    """Hold that all that is named can be loaded, that `epoch` is old, new or absent, and that a worker goes on."""
    store = CheckpointStore(str(folder), 2)
    found = {name: store.load(name)[0].digest for name in store.names()}
    assert len(found) >= 2
    for name, is_digest in found.items():
        number = int(name.removeprefix("epoch-"))
        allowed = {digest(state_at(number))} | ({digest(state_at(value))} if number == epoch else set())
        assert is_digest in allowed

    store.lock("owner")
    assert list(folder.glob(".tmp-*")) == []
    store.write(moment_at(epoch), state_at(value), 0)
    assert store.load(store.names()[0])[0].digest == digest(state_at(value))
    assert sorted(path.name for path in folder.iterdir()) == sorted([*store.names(), "lock.json"])
    assert len(store.names()) == 2
    store.unlock()


@pytest.mark.parametrize("instant", INSTANTS_OF_A_WRITE)
@pytest.mark.parametrize(("epoch", "value"), [(3, 3), (2, 20)], ids=["new", "again"])
def test_a_kill_at_any_instant_leaves_whole_checkpoints(instant: str, epoch: int, value: int, tmp_path: Path) -> None:
    prepared(tmp_path)

    assert write_and_die(tmp_path, epoch, value, at_instant(instant)) == -signal.SIGKILL

    is_there = INSTANTS_OF_A_WRITE.index(instant) >= INSTANTS_OF_A_WRITE.index("checkpoint_renamed")
    newest = CheckpointStore(str(tmp_path), 2).load(f"epoch-{epoch if is_there else 2:012d}")
    assert newest[0].digest == digest(state_at(value if is_there else 2))
    assert_whole(tmp_path, epoch, value)


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "value", "num_at_least"), [(3, 3, 15), (2, 20, 12)], ids=["new", "again"])
def test_a_kill_before_any_call_leaves_whole_checkpoints(
    epoch: int, value: int, num_at_least: int, tmp_path: Path
) -> None:
    num_calls = 0
    while True:
        folder = tmp_path / f"{num_calls:03d}"
        prepared(folder)
        status = write_and_die(folder, epoch, value, at_call(num_calls, folder))
        assert_whole(folder, epoch, value)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        num_calls += 1

    assert num_calls >= num_at_least, "the hook saw too few calls for the test to mean anything"


def test_a_file_that_may_not_grow_fails_one_write_and_the_next_works(tmp_path: Path) -> None:
    prepared(tmp_path)

    def work() -> int:
        store = CheckpointStore(str(tmp_path), 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        with pytest.raises(CheckpointUnavailable, match=r"epoch-000000000003 could not be written: .*File too large"):
            store.write(moment_at(3), {"large": np.ones(10_000, np.float32)}, 0)
        assert list(tmp_path.glob(".tmp-*")) == []
        store.write(moment_at(3), state_at(3), 0)
        return 0

    assert exit_status(fork(work)) == 0
    assert_whole(tmp_path, 3, 3)


@pytest.mark.parametrize("place", ["save_file", "os.fsync", "Path.write_bytes", "Path.rename"])
def test_a_full_disk_fails_one_write_with_what_to_do_and_the_next_works(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    store = CheckpointStore(str(tmp_path), 2)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            {
                "save_file": "stream.durability.checkpoints.state_file.save_file",
                "os.fsync": "os.fsync",
                "Path.write_bytes": "pathlib.Path.write_bytes",
                "Path.rename": "pathlib.Path.rename",
            }[place],
            refuse,
        )
        with pytest.raises(CheckpointUnavailable, match=r"No space left on device.*lower checkpoints\.keep"):
            store.write(moment_at(3), state_at(3), 0)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000000000001", "epoch-000000000002"]
    assert_whole(tmp_path, 3, 3)


def test_all_is_forced_to_the_disk_before_the_renaming_and_the_renaming_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        here = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.stat().st_ino == inode]
        seen.append(re.sub(r"-[0-9a-f]{8}(?=/|$)", "", f"sync {here[0].relative_to(tmp_path)}"))
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        seen.append(f"rename to {target.name}")
        return real_rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    CheckpointStore(str(tmp_path), 2, seen.append).write(moment_at(3), state_at(3), 0)

    synced, renamed = seen.index("checkpoint_synced"), seen.index("checkpoint_renamed")
    temporary = ".tmp-epoch-000000000003"
    files = [f"sync {temporary}/manifest.json", f"sync {temporary}/state.safetensors"]
    assert seen[0] == "checkpoint_written"
    assert sorted(seen[1:synced]) == [f"sync {temporary}", *files]
    assert seen[synced + 1 : renamed] == ["rename to epoch-000000000003", "sync ."]


def test_what_the_system_said_to_safetensors_keeps_its_error_number(tmp_path: Path) -> None:
    from stream.durability.checkpoints.state_file import write_state

    with pytest.raises(OSError, match="No such file or directory") as caught:
        write_state(tmp_path / "nowhere" / "state.safetensors", state_at(1))
    assert caught.value.errno == errno.ENOENT


def test_an_old_one_that_cannot_be_removed_is_reported_and_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    store = CheckpointStore(str(tmp_path), 2)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("stream.durability.checkpoints.local.shutil.rmtree", refuse)
        with pytest.raises(CheckpointUnavailable, match="Input/output error"):
            store.write(moment_at(3), state_at(3), 0)

    assert store.load("epoch-000000000003")[0].moment == moment_at(3)
    assert_whole(tmp_path, 3, 3)


def test_what_a_write_left_in_a_folder_that_was_moved_away_is_removed_by_the_next(tmp_path: Path) -> None:
    folder, aside = tmp_path / "checkpoints", tmp_path / "aside"
    is_moved = [False]

    def move_away(instant: str) -> None:
        if instant == "checkpoint_written" and not is_moved[0]:
            is_moved[0] = True
            folder.rename(aside)

    store = CheckpointStore(str(folder), 2, move_away)
    with pytest.raises(CheckpointUnavailable, match="could not be written"):
        store.write(moment_at(1), state_at(1), 0)
    aside.rename(folder)
    assert len(list(folder.glob(".tmp-*"))) == 1

    store.write(moment_at(2), state_at(2), 0)

    assert [path.name for path in folder.iterdir()] == store.names()
