"""In an object store a checkpoint counts once its manifest is there, which is put last and removed first."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations

from online_models import digest
from stream.durability.checkpoints import CheckpointDamaged, CheckpointStore, CheckpointUnavailable
from stream.errors import ConfigError, RefusedToStart
from tests.support.checkpoint_states import moment_at, state_at

EPOCH_1, EPOCH_2, EPOCH_3 = (f"epoch-00000000000{epoch}" for epoch in range(1, 4))


class Killed(BaseException):
    """Ends a write as a kill would: nothing cleans up in the store."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return a place of this test's own: the memory file system is one for the whole process."""
    return f"memory://{tmp_path.name}/base"


def kill_at(wanted: str) -> Callable[[str], None]:
    def watch(instant: str) -> None:
        if instant == wanted:
            raise Killed

    return watch


def write(store: CheckpointStore, *epochs: int) -> None:
    for epoch in epochs:
        store.write(moment_at(epoch), state_at(epoch), epoch)


def files_below(url: str) -> list[str]:
    base = url.removeprefix("memory:/")
    return sorted(path.removeprefix(f"{base}/") for path in MemoryFileSystem().find(base))


def test_a_checkpoint_comes_back_as_it_was_put(url: str) -> None:
    store = CheckpointStore(url, 2)
    assert store.names() == []

    written = store.write(moment_at(1), state_at(1), 5)

    manifest, state = CheckpointStore(url, 2).load(EPOCH_1)
    assert manifest == written
    assert digest(state) == manifest.digest == digest(state_at(1))
    assert files_below(url) == [f"{EPOCH_1}/manifest.json", f"{EPOCH_1}/state.safetensors"]


def test_the_newest_are_kept(url: str) -> None:
    store = CheckpointStore(url, 2)
    write(store, 1, 2, 3)

    assert store.names() == [EPOCH_3, EPOCH_2]
    assert {path.split("/")[0] for path in files_below(url)} == {EPOCH_3, EPOCH_2}


def test_an_old_one_that_is_half_removed_does_not_count(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(url, 1)
    write(store, 1)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm", die)
        with pytest.raises(Killed):
            write(store, 2)

    assert f"{EPOCH_1}/state.safetensors" in files_below(url)
    assert store.names() == [EPOCH_2]


def test_an_epoch_is_written_again_without_a_gap(url: str) -> None:
    store = CheckpointStore(url, 2)
    write(store, 1)
    for instant in ("checkpoint_written", "checkpoint_synced"):
        with pytest.raises(Killed):
            CheckpointStore(url, 2, kill_at(instant)).write(moment_at(1), state_at(7), 0)
        assert store.load(EPOCH_1)[0].digest == digest(state_at(1))

    store.write(moment_at(1), state_at(7), 0)

    assert store.load(EPOCH_1)[0].digest == digest(state_at(7))
    assert len(files_below(url)) == 2


def test_a_state_without_a_manifest_does_not_count_and_leaves_with_the_next_write(url: str) -> None:
    write(CheckpointStore(url, 2), 1)
    with pytest.raises(Killed):
        write(CheckpointStore(url, 2, kill_at("checkpoint_synced")), 2)
    assert f"{EPOCH_2}/state.safetensors" in files_below(url)

    store = CheckpointStore(url, 2)
    assert store.names() == [EPOCH_1]
    with pytest.raises(CheckpointDamaged, match=rf"{EPOCH_2}/manifest.json: expected a file, found none"):
        store.load(EPOCH_2)

    write(store, 3)
    assert {path.split("/")[0] for path in files_below(url)} == {EPOCH_1, EPOCH_3}


def test_a_newer_state_without_a_manifest_is_left_to_who_may_be_putting_it(url: str) -> None:
    with pytest.raises(Killed):
        write(CheckpointStore(url, 2, kill_at("checkpoint_synced")), 3)

    write(CheckpointStore(url, 2), 1)

    assert f"{EPOCH_3}/state.safetensors" in files_below(url)


def test_damage_is_found_as_it_is_in_a_folder(url: str) -> None:
    store = CheckpointStore(url, 2)
    write(store, 1)
    path = f"{url}/{EPOCH_1}/state.safetensors"
    data: bytes = MemoryFileSystem().cat_file(path)

    MemoryFileSystem().pipe_file(path, data[:-1])
    with pytest.raises(CheckpointDamaged, match=f"expected {len(data)} bytes, found {len(data) - 1}"):
        store.load(EPOCH_1)
    MemoryFileSystem().pipe_file(path, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointDamaged, match=rf"{url}/{EPOCH_1}/state.safetensors: expected SHA-256"):
        store.load(EPOCH_1)
    MemoryFileSystem().rm_file(path)
    with pytest.raises(CheckpointDamaged, match="expected a file, found none"):
        store.load(EPOCH_1)


@pytest.mark.parametrize("method", ["put_file", "pipe_file", "ls", "isfile"])
def test_an_error_of_the_store_by_any_name_fails_one_write_and_the_next_works(
    method: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(url, 2)
    write(store, 1)

    def refuse(*_: object, **__: object) -> None:
        raise KeyError("SlowDown")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, method, refuse)
        with pytest.raises(
            CheckpointUnavailable, match=rf"{url}: {EPOCH_2} could not be written: KeyError: 'SlowDown'"
        ):
            write(store, 2)

    write(store, 2)
    assert store.names() == [EPOCH_2, EPOCH_1]


def test_a_store_that_cannot_be_read_is_refused_with_what_to_do(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    with pytest.raises(RefusedToStart, match=rf"checkpoints\.url {url}: .*Forbidden.*credentials"):
        CheckpointStore(url, 2)


def test_there_is_no_lock(url: str) -> None:
    first, second = CheckpointStore(url, 2), CheckpointStore(url, 2)
    first.lock("a")
    second.lock("b")
    write(first, 1)
    first.unlock()
    write(first, 2)

    assert second.names() == [EPOCH_2, EPOCH_1]


def test_an_unknown_protocol_is_a_wrong_setting_and_no_password_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"checkpoints\.url: expected a folder or a URL .*nope://") as caught:
        CheckpointStore("nope://user:secret@host/path", 2)

    assert "secret" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"class": "absent_package.FileSystem", "err": "Install absent_package"}
    monkeypatch.setitem(known_implementations, "absent", absent)

    with pytest.raises(ConfigError, match=r"absent:// needs a package .* not installed: pip install absent_package"):
        CheckpointStore("absent://bucket/path", 2)


def test_a_checkpoint_that_is_set_aside_is_none_any_more(url: str) -> None:
    store = CheckpointStore(url, 3)
    write(store, 1, 2)

    store.set_aside(EPOCH_2)

    assert store.names() == [EPOCH_1]
