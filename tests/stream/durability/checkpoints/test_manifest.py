"""A manifest is read as it was written, or refused: no byte of it can change unnoticed."""

import hashlib
import json

import pytest

from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign, FileFacts, Manifest, is_name, name_of
from stream.durability.checkpoints.manifest import decode, encode
from tests.support.checkpoint_states import moment_at

MANIFEST = Manifest(
    moment=moment_at(4711),
    digest="ab" * 32,
    created_at_ms=1_800_000_000_123,
    files={"state.safetensors": FileFacts(num_bytes=123, sha256="cd" * 32)},
)


def framed(line: bytes) -> bytes:
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def changed(**fields: object) -> bytes:
    """Return a manifest with other fields, and the right checksum for them."""
    tree = json.loads(encode(MANIFEST).split(b"\n")[0]) | fields
    return framed(json.dumps(tree).encode())


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert decode(encode(MANIFEST)) == MANIFEST


def test_the_file_is_a_line_of_json_and_a_line_with_its_sha256() -> None:
    line, checksum, end = encode(MANIFEST).split(b"\n")

    assert json.loads(line)["format_version"] == 1
    assert json.loads(line)["moment"]["epoch"] == 4711
    assert checksum == hashlib.sha256(line).hexdigest().encode()
    assert end == b""


def test_any_changed_bit_or_byte_is_found() -> None:
    data = encode(MANIFEST)
    masks = [1 << bit for bit in range(8)] + [0xFF]

    for place in range(len(data)):
        for mask in masks:
            with pytest.raises(CheckpointDamaged, match=r"x/manifest\.json: expected one line and its SHA-256"):
                decode(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :], "x/manifest.json")


def test_any_missing_or_added_byte_is_found() -> None:
    data = encode(MANIFEST)

    for place in range(len(data)):
        with pytest.raises(CheckpointDamaged):
            decode(data[:place])  # all lengths, none among them
        with pytest.raises(CheckpointDamaged):
            decode(data[:place] + data[place + 1 :])
    for place in range(len(data) + 1):
        for byte in (b"\n", b"0", b" "):
            with pytest.raises(CheckpointDamaged):
                decode(data[:place] + byte + data[place:])


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (2, "a newer")])
def test_another_format_version_is_refused_with_what_to_do(version: int, age: str) -> None:
    with pytest.raises(CheckpointForeign) as caught:
        decode(changed(format_version=version), "base/epoch-000000004711/manifest.json")

    assert str(caught.value) == (
        f"base/epoch-000000004711/manifest.json: expected format version 1, got {version}: {age} Millstream wrote it. "
        "Start that version again, or set checkpoints.url to a new folder and learn the log again"
    )
    assert caught.value.exit_code == 4


def test_another_format_version_is_told_by_its_number_alone() -> None:
    with pytest.raises(CheckpointForeign, match="expected format version 1, got 2"):
        decode(framed(b'{"format_version": 2, "everything": "else"}'))


@pytest.mark.parametrize(
    "data",
    [
        framed(b""),
        framed(b"\xff\xfe"),
        framed(b"[]"),
        framed(b'{"format_version": "1"}'),
        framed(b'{"format_version": 1}'),
        changed(moment={"epoch": 1}),
        changed(files={}),
        changed(files={"../../state.safetensors": {"num_bytes": 1, "sha256": ""}}),
        changed(files={"state.pickle": {"num_bytes": 1, "sha256": ""}}),
    ],
)
def test_whole_files_that_are_no_manifest_of_ours_are_refused_as_foreign(data: bytes) -> None:
    with pytest.raises(CheckpointForeign):
        decode(data)


def test_names_have_twelve_digits_and_sort_as_epochs_do() -> None:
    assert name_of(4711) == "epoch-000000004711"
    assert sorted([name_of(10), name_of(9)]) == [name_of(9), name_of(10)]
    assert is_name("epoch-000000004711")
    for other in (
        "epoch-4711",
        "epoch-0000000047110",
        "epoch-00000000471\uff11",
        "epoch-000000004711\n",
        ".epoch-000000004711",
    ):
        assert not is_name(other)
