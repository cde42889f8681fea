"""Checkpoints in a folder of this machine.

Whatever is written is written under a temporary name, forced to the disk, and then renamed: at any instant a folder
with the name of a checkpoint is one that was finished.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from stream.durability.checkpoints.lock import TEMPORARY, FolderLock, take_lock
from stream.durability.checkpoints.manifest import MANIFEST, Manifest, encode, is_name
from stream.durability.checkpoints.state_file import free_name
from stream.errors import RefusedToStart
from stream.failpoints import Watch

__all__ = ["LocalBase"]

SET_ASIDE = "set-aside-"
"""Begins the name of a folder that is no checkpoint any more, and that nobody but a person deletes."""


class _Modes(NamedTuple):
    folder: int
    file: int


OWNER_MODES, GROUP_MODES = _Modes(0o700, 0o600), _Modes(0o750, 0o640)
"""Who may read: ids and histories of people are in there, so only the owner, or his group for backups."""


class LocalBase:
    """The folder that holds the folders of the checkpoints; it is made if it is not there, unless it is only read.

    Raises:
        RefusedToStart: it cannot be made or written to; read-only: it is not there.
    """

    def __init__(self, folder: Path, watch: Watch, *, read_only: bool = False, is_group_readable: bool = False) -> None:
        self.shown = str(folder)
        self._folder = folder
        self._watch = watch
        self._lock: FolderLock | None = None
        self._unfinished: list[Path] = []  # of writes that failed: the folder may have been away, with them in it
        self._modes = GROUP_MODES if is_group_readable else OWNER_MODES
        if not read_only:
            _open(folder, self._modes.folder)
        elif not folder.is_dir():
            raise RefusedToStart(f"checkpoints.url {folder}: expected a folder with checkpoints, found none")

    def names(self) -> list[str]:
        """Return the names of the finished checkpoints, in no order."""
        with os.scandir(self._folder) as entries:
            return [entry.name for entry in entries if is_name(entry.name) and entry.is_dir(follow_symlinks=False)]

    def manifest_bytes(self, name: str) -> bytes:
        """Return the file of the manifest."""
        return (self._folder / name / MANIFEST).read_bytes()

    @contextmanager
    def local_file(self, name: str, file: str) -> Iterator[Path]:
        """Lend the path of a file of a checkpoint."""
        yield self._folder / name / file

    def write(self, name: str, save: Callable[[Path], Manifest]) -> Manifest:
        """Add a checkpoint, or replace the one of that name; at every instant the old or the new one is there.

        Args:
            name: of the checkpoint.
            save: writes the state to the path that it gets, and returns the manifest.

        Raises:
            FencedError: another worker took the folder over.
            OSError: the disk refused.
        """
        self._check_lock()
        while self._unfinished:
            shutil.rmtree(self._unfinished.pop(), ignore_errors=True)
        temporary = self._temporary(name)
        temporary.mkdir(self._modes.folder)
        try:
            manifest = save(temporary / free_name(_entries(self._folder / name)))
            (temporary / MANIFEST).write_bytes(encode(manifest))
            for path in temporary.iterdir():
                path.chmod(self._modes.file)
            temporary.chmod(self._modes.folder)  # the umask may have taken what the group is to have
            self._watch("checkpoint_written")
            for path in (*temporary.iterdir(), temporary):
                _force_to_disk(path)
            self._watch("checkpoint_synced")
            self._check_lock()
            _put_in_place(temporary, self._folder / name, manifest)
            _force_to_disk(self._folder)
            self._watch("checkpoint_renamed")
        except Exception:
            self._unfinished.append(temporary)
            # Who took over also cleared our temporary folder away: then that is the reason, not the missing folder.
            self._check_lock()
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return manifest

    def remove(self, name: str) -> None:
        """Remove a checkpoint; what is half removed has a temporary name.

        Raises:
            FencedError: another worker took the folder over.
            OSError: the disk refused.
        """
        self._check_lock()
        aside = self._temporary(name)
        (self._folder / name).rename(aside)
        _force_to_disk(self._folder)  # else a loss of power could undo the renaming, but not the removing
        shutil.rmtree(aside)

    def set_aside(self, name: str) -> None:
        """Give a checkpoint a name by which it is none any more, and keep its files.

        Raises:
            FencedError: another worker took the folder over.
            OSError: the disk refused.
        """
        self._check_lock()
        (self._folder / name).rename(self._folder / f"{SET_ASIDE}{name}-{secrets.token_hex(4)}")
        _force_to_disk(self._folder)

    def lock(self, owner: str, wait_seconds: float, confirm: Callable[[], None]) -> None:
        """Keep other workers out, and remove what a killed one left; see `take_lock`."""
        lost = self._lock
        try:
            _make_folder(self._folder, self._modes.folder)  # it may have been taken away since we had it
            self._lock = take_lock(self._folder, owner, wait_seconds, confirm)
        except OSError as error:
            raise RefusedToStart(f"{self.shown}: the folder could not be locked: {error}. {_ADVICE}") from error
        if lost is not None:
            lost.release()
        for path in self._folder.glob(f"{TEMPORARY}*"):
            with suppress(OSError):  # rubbish that cannot be removed is in nobody's way
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def unlock(self) -> None:
        """Let other workers in, if this one kept them out."""
        if self._lock is not None:
            self._lock.release()  # but kept: a write that is still under way must not outlive it

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _temporary(self, name: str) -> Path:
        return self._folder / f"{TEMPORARY}{name}-{secrets.token_hex(4)}"


_ADVICE = "Let the worker's user write there (chown, chmod), or set checkpoints.url to another folder"


def _open(folder: Path, mode: int) -> None:
    try:
        _make_folder(folder, mode)
        with tempfile.TemporaryFile(dir=folder, prefix=TEMPORARY):
            pass  # asked of the disk, as permissions alone do not say it: it may be mounted read-only
    except OSError as error:
        raise RefusedToStart(
            f"checkpoints.url {folder}: expected a folder that can be written to: {error}. {_ADVICE}"
        ) from error


def _make_folder(folder: Path, mode: int) -> None:
    """Make a folder that is not there; one that is stays as somebody made it."""
    if not folder.is_dir():
        folder.mkdir(mode, parents=True, exist_ok=True)
        folder.chmod(mode)


def _entries(folder: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [path.name for path in folder.iterdir()]
    return []


def _put_in_place(temporary: Path, final: Path, manifest: Manifest) -> None:
    if not final.is_dir():
        temporary.rename(final)
        return
    # A folder cannot be renamed over a full one. The manifest decides which state counts, so it changes last; the new
    # state has a name that was free.
    for name in manifest.files:
        (temporary / name).rename(final / name)
    _force_to_disk(final)
    (temporary / MANIFEST).replace(final / MANIFEST)
    _force_to_disk(final)
    for name in set(_entries(final)) - {MANIFEST, *manifest.files}:
        with suppress(OSError):
            (final / name).unlink()


def _force_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
