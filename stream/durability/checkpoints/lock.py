"""One worker per folder of checkpoints: a lock file that says who holds it.

The lock is `flock` on `lock.json`; the system drops it when the process dies. A process that hangs keeps it for ever,
though. When such a holder has the same owner text it was fenced in Kafka before we came here, so its lock file is
replaced by a new one; the holder finds that out before it next writes, as the file is no longer its own.
"""

import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from stream.errors import FencedError, RefusedToStart

__all__ = ["LOCK", "TEMPORARY", "FolderLock", "LockLost", "take_lock"]

LOCK = "lock.json"
TEMPORARY = ".tmp-"
"""Begins the name of whatever is not finished; it is removed once the folder is locked."""

_POLL_SECONDS = 0.05


class _Holder(Struct, frozen=True, kw_only=True):
    owner: str
    pid: int
    host: str


class LockLost(OSError):
    """The lock file is away, or the one that is there is no newer worker's of ours. It tells nothing of who is who."""


class FolderLock:
    """The lock of one folder, held until `release` or the end of the process."""

    def __init__(self, path: Path, descriptor: int, owner: str) -> None:
        self._path, self._descriptor, self._owner = path, descriptor, owner
        self._is_released = False

    def check(self) -> None:
        """Return if the folder is still ours.

        Raises:
            FencedError: another worker took it over, or we gave it back.
            LockLost: the lock file is away, or was replaced by none of a living worker of ours: ask the brokers.
            OSError: the folder cannot be looked at.
        """
        if self._is_released:
            raise FencedError(f"{self._path}: this worker has given its checkpoints back and must not write any more")
        if _is_file_of(self._path, self._descriptor):
            return
        if (holder := _living_holder(self._path)) != self._owner:
            raise LockLost(f"{self._path}: the lock of this worker is gone; the folder is held by {holder or 'nobody'}")
        raise FencedError(
            f"{self._path}: another worker with the same transactional id has taken over these checkpoints; this "
            "one must not write any more"
        )

    def release(self) -> None:
        """Let the next one have it. The file stays: removing it would let two hold it."""
        if not self._is_released:
            self._is_released = True
            os.close(self._descriptor)


def take_lock(folder: Path, owner: str, wait_seconds: float, confirm: Callable[[], None]) -> FolderLock:
    """Return the lock of `folder`.

    Args:
        folder: an existing folder.
        owner: transactional id and topic of the worker.
        wait_seconds: how long a holder with the same owner text has to leave before its lock is taken from it.
        confirm: called before that; raises when it is we who were fenced meanwhile, and the holder is the newer one.

    Raises:
        RefusedToStart: a living process of another owner holds it.
        OSError: the lock file cannot be made or locked.
    """
    path = folder / LOCK
    held, confirmed, deadline = -1, -1, 0.0
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        is_free = _try_flock(descriptor)
        if not _is_file_of(path, descriptor):
            os.close(descriptor)  # replaced since we opened it
            continue
        if is_free:
            _sign(descriptor, owner)
            return FolderLock(path, descriptor, owner)
        holder, inode = _read_holder(descriptor), os.fstat(descriptor).st_ino
        os.close(descriptor)
        if holder is not None and holder.owner != owner:
            raise RefusedToStart(f"{folder}: {_held_by(holder)}; {owner} needs a folder of its own in checkpoints.url")
        if inode != held:  # a new holder has the whole time to leave
            held, deadline = inode, time.monotonic() + wait_seconds
        if time.monotonic() >= deadline:
            if holder is None:
                raise RefusedToStart(f"{path}: held by a process that does not say who it is; find it and end it")
            if confirmed != inode:  # then look again: whoever came while we asked is newer than we are
                confirm()
                confirmed = inode
                continue
            return _take_over(path, owner)
        time.sleep(_POLL_SECONDS)


def _take_over(path: Path, owner: str) -> FolderLock:
    mine = path.with_name(f"{TEMPORARY}lock-{secrets.token_hex(4)}")
    descriptor = os.open(mine, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _sign(descriptor, owner)
    mine.rename(path)
    return FolderLock(path, descriptor, owner)


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_of(path: Path, descriptor: int) -> bool:
    """Return whether `path` still names the open file; its inode number is not given away while it is open."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _living_holder(path: Path) -> str | None:
    """Return the owner text of the process that holds the lock file that is there now; None: none does."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if _try_flock(descriptor):  # given back by the closing
            return None
        holder = _read_holder(descriptor)
        return None if holder is None else holder.owner
    finally:
        os.close(descriptor)


def _sign(descriptor: int, owner: str) -> None:
    text = msgspec.json.encode(_Holder(owner=owner, pid=os.getpid(), host=socket.gethostname())) + b"\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def _read_holder(descriptor: int) -> _Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 65_536, 0), type=_Holder)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # it is about to sign


def _held_by(holder: _Holder) -> str:
    return f"held by {holder.owner} (process {holder.pid} on {holder.host})"
