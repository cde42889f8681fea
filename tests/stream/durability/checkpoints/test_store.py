"""A checkpoint is loaded as it was written or refused with the reason, and only the newest are kept."""

import hashlib
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from online_models import digest
from stream.durability.checkpoints import (
    CheckpointDamaged,
    CheckpointForeign,
    CheckpointStore,
    CheckpointUnavailable,
    FileFacts,
    Manifest,
)
from stream.durability.checkpoints.manifest import decode, encode
from stream.errors import RefusedToStart
from tests.support.checkpoint_states import moment_at, state_at

EPOCH_1, EPOCH_2, EPOCH_3, EPOCH_4, EPOCH_5 = (f"epoch-00000000000{epoch}" for epoch in range(1, 6))


def store_at(folder: Path, *epochs: int, keep: int = 3) -> CheckpointStore:
    store = CheckpointStore(str(folder), keep)
    for epoch in epochs:
        store.write(moment_at(epoch), state_at(epoch), 1_000 + epoch)
    return store


def forge(folder: Path, state: bytes) -> None:
    """Put another state there, with a manifest that agrees in all but the digest."""
    (folder / "state.safetensors").write_bytes(state)
    was = decode((folder / "manifest.json").read_bytes())
    facts = FileFacts(num_bytes=len(state), sha256=hashlib.sha256(state).hexdigest())
    forged = Manifest(moment=was.moment, digest=was.digest, created_at_ms=0, files={"state.safetensors": facts})
    (folder / "manifest.json").write_bytes(encode(forged))


def test_a_checkpoint_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    written = store_at(tmp_path, 4711).manifest("epoch-000000004711")

    manifest, state = CheckpointStore(str(tmp_path), 3).load("epoch-000000004711")

    assert manifest == written
    assert manifest.moment == moment_at(4711)
    assert manifest.created_at_ms == 5_711
    assert manifest.digest == digest(state) == digest(state_at(4711))
    assert state["ids"] == ["ana", "", "bén"]
    assert isinstance(state["weights"], np.ndarray)
    assert state["weights"].flags.writeable


def test_a_checkpoint_is_a_folder_with_two_files(tmp_path: Path) -> None:
    store_at(tmp_path, 1)

    assert sorted(path.name for path in tmp_path.iterdir()) == [EPOCH_1]
    assert sorted(path.name for path in (tmp_path / EPOCH_1).iterdir()) == ["manifest.json", "state.safetensors"]


def test_two_writes_of_one_state_give_the_same_bytes(tmp_path: Path) -> None:
    store_at(tmp_path / "a", 1)
    store_at(tmp_path / "b", 1)

    for file in ("manifest.json", "state.safetensors"):
        assert (tmp_path / "a" / EPOCH_1 / file).read_bytes() == (tmp_path / "b" / EPOCH_1 / file).read_bytes()


def test_names_are_the_finished_checkpoints_newest_first(tmp_path: Path) -> None:
    store = store_at(tmp_path, 2, 1, 3)
    (tmp_path / ".tmp-epoch-000000000009-00").mkdir()
    (tmp_path / "epoch-9").mkdir()
    (tmp_path / "epoch-000000000008").write_bytes(b"a file")
    (tmp_path / "notes.txt").write_bytes(b"")

    assert store.names() == [EPOCH_3, EPOCH_2, EPOCH_1]


def test_the_newest_are_kept_and_the_one_just_written_always(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1, 2, 3, 4, keep=2)
    assert store.names() == [EPOCH_4, EPOCH_3]

    store.write(moment_at(1), state_at(1), 0)  # after a recovery from far back
    assert store.names() == [EPOCH_4, EPOCH_3, EPOCH_1]  # what is newer may be another worker's

    assert store_at(tmp_path / "other", 1, 2, keep=1).names() == [EPOCH_2]
    assert [path.name for path in (tmp_path / "other").iterdir()] == [EPOCH_2]


def test_an_epoch_is_written_again_over_a_good_and_over_a_damaged_one(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    for value in (5, 6, 7):
        store.write(moment_at(1), state_at(value), value)
        assert store.load(EPOCH_1)[0].digest == digest(state_at(value))
        assert len(list((tmp_path / EPOCH_1).iterdir())) == 2

    for damaged in list((tmp_path / EPOCH_1).iterdir()):
        damaged.write_bytes(b"damaged")
        store.write(moment_at(1), state_at(1), 0)
        assert store.load(EPOCH_1)[0].digest == digest(state_at(1))


def test_any_flipped_bit_of_the_tensors_is_found(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    path = tmp_path / EPOCH_1 / "state.safetensors"
    data, rng = path.read_bytes(), np.random.default_rng(1)

    for place in rng.choice(len(data), 300, replace=False):
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(CheckpointDamaged, match=f"{EPOCH_1}/state.safetensors: expected SHA-256 [0-9a-f]+, found"):
            store.load(EPOCH_1)


def test_a_file_of_another_length_is_found_with_both_lengths(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    path = tmp_path / EPOCH_1 / "state.safetensors"
    data = path.read_bytes()

    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointDamaged, match=f"expected {len(data)} bytes, found {length}"):
            store.load(EPOCH_1)
    path.write_bytes(data + b"\0")
    with pytest.raises(CheckpointDamaged, match=f"expected {len(data)} bytes, found {len(data) + 1}"):
        store.load(EPOCH_1)


@pytest.mark.slow
def test_a_torn_or_senseless_state_under_a_manifest_that_agrees_is_found_too(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    data, rng = (tmp_path / EPOCH_1 / "state.safetensors").read_bytes(), np.random.default_rng(2)
    torn = [data[:length] for length in range(len(data))]
    senseless = [b"\xff" * 8, b"\xff" * 100, b"\x02\0\0\0\0\0\0\0[]", rng.bytes(1_000)]

    for bad in (*torn, *senseless):
        forge(tmp_path / EPOCH_1, bad)
        with pytest.raises(CheckpointDamaged, match=f"{EPOCH_1}/state.safetensors: expected the"):
            store.load(EPOCH_1)


@pytest.mark.slow
def test_another_state_never_passes_for_the_one_of_the_digest(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    data = (tmp_path / EPOCH_1 / "state.safetensors").read_bytes()
    num_damaged = 0

    for place in range(len(data)):
        forge(tmp_path / EPOCH_1, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            _, state = store.load(EPOCH_1)
        except CheckpointDamaged:
            num_damaged += 1
        else:
            assert digest(state) == digest(state_at(1))  # a space between words of the header
    assert num_damaged > 0.9 * len(data)


@pytest.mark.parametrize("missing", ["manifest.json", "state.safetensors"])
def test_a_missing_file_is_named(missing: str, tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    (tmp_path / EPOCH_1 / missing).unlink()

    with pytest.raises(CheckpointDamaged, match=rf"{EPOCH_1}/{missing}: expected a file, found none"):
        store.load(EPOCH_1)

    (tmp_path / EPOCH_1 / missing).mkdir()
    with pytest.raises(CheckpointDamaged):
        store.load(EPOCH_1)


def test_an_empty_folder_and_one_that_is_not_there_are_damaged(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    (tmp_path / EPOCH_1).mkdir()

    for name in (EPOCH_1, EPOCH_2):
        with pytest.raises(CheckpointDamaged, match=rf"{name}/manifest.json: expected a file, found none"):
            store.load(name)


def test_a_stray_file_beside_does_no_harm(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    (tmp_path / EPOCH_1 / "state-1.safetensors").write_bytes(b"left by a replacement that was killed")

    assert store.load(EPOCH_1)[0].moment == moment_at(1)


def test_a_checkpoint_under_another_name_is_refused(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    (tmp_path / EPOCH_1).rename(tmp_path / EPOCH_2)

    with pytest.raises(CheckpointDamaged, match=f"manifest.json: expected the one of {EPOCH_2}, found epoch 1"):
        store.load(EPOCH_2)


def test_the_state_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1, 2)
    shutil.copy(tmp_path / EPOCH_2 / "state.safetensors", tmp_path / EPOCH_1 / "state.safetensors")

    with pytest.raises(CheckpointDamaged, match="expected SHA-256"):
        store.load(EPOCH_1)


@pytest.mark.parametrize("version", [0, 2])
def test_a_checkpoint_of_another_format_version_is_refused_and_stays(version: int, tmp_path: Path) -> None:
    store = store_at(tmp_path, 1)
    path = tmp_path / EPOCH_1 / "manifest.json"
    line = path.read_bytes().split(b"\n")[0].replace(b'"format_version":1', f'"format_version":{version}'.encode())
    path.write_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")

    with pytest.raises(CheckpointForeign, match=f"expected format version 1, got {version}"):
        store.load(EPOCH_1)
    assert store.names() == [EPOCH_1]


def test_a_disk_that_cannot_be_read_is_told_apart_from_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(tmp_path, 1)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        CheckpointUnavailable, match=rf"{EPOCH_1} could not be read: .*Permission denied.*\(chown, chmod\)"
    ):
        store.load(EPOCH_1)


def test_a_folder_is_made_and_may_be_given_as_a_file_url(tmp_path: Path) -> None:
    CheckpointStore(f"file://{tmp_path}/deep/down", 1).write(moment_at(1), state_at(1), 0)

    assert CheckpointStore(str(tmp_path / "deep" / "down"), 1).names() == [EPOCH_1]


@pytest.mark.parametrize("below", ["file", "file/folder"])
def test_a_base_that_is_no_folder_is_refused_with_what_to_do(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(RefusedToStart, match=r"checkpoints\.url .*expected a folder that can be written to.*chown"):
        CheckpointStore(str(tmp_path / below), 1)


def test_a_folder_that_nobody_can_write_to_is_refused_with_what_to_do() -> None:
    with pytest.raises(RefusedToStart, match=r"checkpoints\.url /proc/self: expected a folder that can be written to"):
        CheckpointStore("/proc/self", 1)  # not even as root


def test_a_checkpoint_that_is_set_aside_is_none_any_more_and_its_files_are_kept(tmp_path: Path) -> None:
    store = store_at(tmp_path, 1, 2)

    store.set_aside(EPOCH_2)

    assert store.names() == [EPOCH_1]
    [aside] = tmp_path.glob("set-aside-*")
    assert sorted(path.name for path in aside.iterdir()) == ["manifest.json", "state.safetensors"]


@pytest.mark.parametrize(
    ("is_group_readable", "modes"), [(False, {0o700, 0o600}), (True, {0o750, 0o640})], ids=["owner", "group"]
)
def test_what_is_written_is_read_by_its_owner_alone_or_by_his_group(
    is_group_readable: bool, modes: set[int], tmp_path: Path
) -> None:
    for umask in (0o000, 0o077):
        folder = tmp_path / f"{umask}"
        before = os.umask(umask)
        try:
            store = CheckpointStore(str(folder), 2, is_group_readable=is_group_readable)
            store.lock("millstream-0 on events")
            store.write(moment_at(1), state_at(1), 0)
            store.write(moment_at(1), state_at(2), 0)  # replaces it
        finally:
            os.umask(before)
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("epoch-*/*")} == modes & {0o600, 0o640}
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("epoch-*")} == modes & {0o700, 0o750}
        assert stat.S_IMODE(folder.stat().st_mode) in modes
        assert stat.S_IMODE((folder / "lock.json").stat().st_mode) == 0o600
