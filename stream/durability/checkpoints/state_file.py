"""The file of a checkpoint that holds the state: the arrays of `online_models.flatten`, as safetensors.

Nothing in such a file can run, unlike in a pickle. It is believed only after its size and SHA-256 were found right, and
the state in it only after its digest was.
"""

import hashlib
import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from online_models import State, digest, flatten, unflatten
from stream.durability.checkpoints.errors import CheckpointDamaged
from stream.durability.checkpoints.manifest import FileFacts

__all__ = ["check_file", "free_name", "read_state", "write_state"]

_ERROR_NUMBER = re.compile(r"os error ([0-9]+)")
"""The only trace that an error of the system leaves in one of safetensors."""


def free_name(present: list[str]) -> str:
    """Return a name for a state file that is none of `present`: `state.safetensors`, if it may be."""
    name, number = "state.safetensors", 0
    while name in present:
        number += 1
        name = f"state-{number}.safetensors"
    return name


def write_state(path: Path, state: State) -> FileFacts:
    """Write `state` to `path` without a second copy in memory, and return what the file then is.

    Raises:
        OSError: the disk refused.
    """
    try:
        save_file(flatten(state), path)
    except SafetensorError as error:
        number = _ERROR_NUMBER.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), f"{error}") from error
    return _facts(path)


def check_file(path: Path, expected: FileFacts, where: str) -> None:
    """Compare the file at `path` with what it must be.

    Raises:
        CheckpointDamaged: it is something else.
        OSError: it could not be read.
    """
    num_bytes = path.stat().st_size
    if num_bytes != expected.num_bytes:
        raise CheckpointDamaged(f"{where}: expected {expected.num_bytes} bytes, found {num_bytes}")
    found = _facts(path)
    if found != expected:
        raise CheckpointDamaged(f"{where}: expected SHA-256 {expected.sha256}, found {found.sha256}")


def read_state(path: Path, expected_digest: str, where: str) -> State:
    """Return the state that a file of `write_state` holds; its arrays are the caller's.

    Raises:
        CheckpointDamaged: the file holds no state, or another one.
        OSError: it could not be read.
    """
    try:
        state = unflatten(load_file(path))
        found = digest(state)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a well-formed file of nonsense fails under many names, and must end as damaged
        raise CheckpointDamaged(
            f"{where}: expected the arrays of a state, found something else ({type(error).__name__}: {error})"
        ) from error
    if found != expected_digest:
        raise CheckpointDamaged(f"{where}: expected the state with digest {expected_digest}, found {found}")
    return state


def _facts(path: Path) -> FileFacts:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileFacts(num_bytes=file.tell(), sha256=sha256)
