"""The manifest: what a checkpoint is, and the size and checksum of what belongs to it.

Its file is one line of JSON and one line with the SHA-256 of the first, so that any byte changed, lost or added is
found. That frame and the name `format_version` are the same in all versions of the format.
"""

import hashlib
import re

import msgspec
from msgspec import Struct

from stream.durability.checkpoints.errors import CheckpointDamaged, CheckpointForeign
from stream.wire.position import Moment

__all__ = ["FORMAT_VERSION", "MANIFEST", "FileFacts", "Manifest", "decode", "encode", "is_name", "name_of"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

_NAME = re.compile(r"epoch-[0-9]{12}")
_STATE_FILE = re.compile(r"state(-[0-9]+)?\.safetensors")
_HEX_DIGITS = 64


class FileFacts(Struct, frozen=True, kw_only=True):
    """What a file of a checkpoint must be."""

    num_bytes: int
    sha256: str
    """Of all its bytes, 64 hex digits."""


class Manifest(Struct, frozen=True, kw_only=True):
    """One checkpoint."""

    format_version: int = FORMAT_VERSION
    moment: Moment
    digest: str
    """`online_models.digest` of the state, 64 hex digits."""
    created_at_ms: int
    files: dict[str, FileFacts]
    """Name in the folder to what it must be: the one file with the state."""


class _Version(Struct, frozen=True):
    format_version: int


def name_of(epoch: int) -> str:
    """Return the folder's name: names sort as their epochs do."""
    assert 0 <= epoch < 10**12, f"epoch: expected 0 to 12 digits, got {epoch}"
    return f"epoch-{epoch:012d}"


def is_name(text: str) -> bool:
    """Return whether `name_of` makes this name."""
    return _NAME.fullmatch(text) is not None


def encode(manifest: Manifest) -> bytes:
    """Return the file of `manifest`."""
    line = msgspec.json.encode(manifest)
    return line + b"\n" + _checksum(line) + b"\n"


def decode(data: bytes, where: str = MANIFEST) -> Manifest:
    """Return the manifest that the file `data` holds.

    Args:
        data: the whole file.
        where: what the file is called in messages.

    Raises:
        CheckpointDamaged: the bytes are not those that were written.
        CheckpointForeign: they are, but by a version of the format that is not known here.
    """
    line = _checked_line(data, where)
    try:
        version = msgspec.json.decode(line, type=_Version).format_version
        if version != FORMAT_VERSION:
            age = "a newer" if version > FORMAT_VERSION else "an older"
            raise CheckpointForeign(
                f"{where}: expected format version {FORMAT_VERSION}, got {version}: {age} Millstream wrote it. Start "
                "that version again, or set checkpoints.url to a new folder and learn the log again"
            )
        manifest = msgspec.json.decode(line, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The checksum is right, so this is what was written.
        raise CheckpointForeign(
            f"{where}: expected a manifest of format version {FORMAT_VERSION}, got other fields ({error}): another "
            "program or an unreleased version wrote it; set checkpoints.url to a folder of this worker's own"
        ) from error
    if [name for name in manifest.files if _STATE_FILE.fullmatch(name)] != list(manifest.files) or not manifest.files:
        raise CheckpointForeign(f"{where}: expected the name of a state file, got {sorted(manifest.files)}")
    return manifest


def _checked_line(data: bytes, where: str) -> bytes:
    line, checksum, end = data[: -_HEX_DIGITS - 2], data[-_HEX_DIGITS - 2 : -1], data[-1:]
    if end != b"\n" or checksum != b"\n" + _checksum(line):
        raise CheckpointDamaged(
            f"{where}: expected one line and its SHA-256, got {len(data)} bytes that do not fit together"
        )
    return line


def _checksum(line: bytes) -> bytes:
    return hashlib.sha256(line).hexdigest().encode()
