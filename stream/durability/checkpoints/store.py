"""The checkpoints below one base: written so that a crash leaves none in pieces, and believed only when verified."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from online_models import State, digest
from stream.durability.checkpoints.errors import CheckpointDamaged, CheckpointUnavailable, CheckpointUnlocked
from stream.durability.checkpoints.local import LocalBase
from stream.durability.checkpoints.lock import LockLost
from stream.durability.checkpoints.manifest import MANIFEST, Manifest, decode, name_of
from stream.durability.checkpoints.remote import RemoteBase
from stream.durability.checkpoints.state_file import check_file, read_state, write_state
from stream.failpoints import Watch, unwatched
from stream.wire.position import Moment

__all__ = ["CheckpointStore"]

LOCK_WAIT_SECONDS = 5.0


class _Base(Protocol):
    """Where checkpoints are; the methods are those of `LocalBase`."""

    shown: str
    """How messages call it; without a password."""

    def names(self) -> list[str]: ...
    def manifest_bytes(self, name: str) -> bytes: ...
    def local_file(self, name: str, file: str) -> AbstractContextManager[Path]: ...
    def write(self, name: str, save: Callable[[Path], Manifest]) -> Manifest: ...
    def remove(self, name: str) -> None: ...
    def set_aside(self, name: str) -> None: ...
    def lock(self, owner: str, wait_seconds: float, confirm: Callable[[], None]) -> None: ...
    def unlock(self) -> None: ...


class CheckpointStore:
    """Writes, lists and loads checkpoints.

    Args:
        url: a folder (also as `file://…`), or a URL that fsspec knows, as in `s3://bucket/path`.
        keep: how many of the newest are kept, at least 1.
        watch: told of the instants of a write; see `stream.failpoints`.
        read_only: a folder is neither made nor tried out by writing to it, so that looking needs no right to write.
        is_group_readable: in a folder, the owner's group may read what is written; otherwise the owner alone.

    Raises:
        ConfigError: the URL's protocol is unknown, or needs a package that is not installed.
        RefusedToStart: the place cannot be made, read or written to; read-only: it is not there.
    """

    def __init__(
        self,
        url: str,
        keep: int,
        watch: Watch = unwatched,
        *,
        read_only: bool = False,
        is_group_readable: bool = False,
    ) -> None:
        assert keep >= 1, f"checkpoints.keep: expected >= 1, got {keep}"
        self._base = _base(url, watch, read_only=read_only, is_group_readable=is_group_readable)
        self._keep = keep
        self._watch = watch

    @property
    def shown(self) -> str:
        """How messages call the place; without a password."""
        return self._base.shown

    def names(self) -> list[str]:
        """Return the names of all finished checkpoints, the newest epoch first.

        Raises:
            CheckpointUnavailable: the place cannot be read.
        """
        with self._io("checkpoints could not be listed"):
            return sorted(self._base.names(), reverse=True)

    def write(self, moment: Moment, state: State, created_at_ms: int) -> Manifest:
        """Write a checkpoint, which replaces one of the same epoch, then remove the oldest ones.

        Args:
            moment: where in the stream `state` stands.
            state: read, not copied; nobody may change it meanwhile.
            created_at_ms: now, by the wall clock.

        Raises:
            FencedError: another worker took the folder over.
            CheckpointUnavailable: it could not be written, or an old one not removed.
        """
        name = name_of(moment.epoch)
        with self._io(f"{name} could not be written"):
            manifest = self._base.write(name, partial(_save, moment, state, created_at_ms))
        self._prune(name)
        return manifest

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a checkpoint, found to be whole and the one of this epoch.

        Raises:
            CheckpointDamaged: it is not.
            CheckpointForeign: another version of Millstream wrote it.
            CheckpointUnavailable: it could not be read.
        """
        where = f"{self.shown}/{name}/{MANIFEST}"
        with self._io(f"{name} could not be read"), _missing_is_damage(where):
            data = self._base.manifest_bytes(name)
        manifest = decode(data, where)
        if name_of(manifest.moment.epoch) != name:
            raise CheckpointDamaged(f"{where}: expected the one of {name}, found epoch {manifest.moment.epoch}")
        return manifest

    def load(self, name: str) -> tuple[Manifest, State]:
        """Return a checkpoint after size, SHA-256 and digest were found to be those of its manifest.

        Raises:
            CheckpointDamaged: they are not, or a file is missing.
            CheckpointForeign: another version of Millstream wrote it.
            CheckpointUnavailable: it could not be read.
        """
        manifest = self.manifest(name)
        [(file, facts)] = manifest.files.items()
        where = f"{self.shown}/{name}/{file}"
        with (
            self._io(f"{name} could not be read"),
            _missing_is_damage(where),
            self._base.local_file(name, file) as path,
        ):
            check_file(path, facts, where)
            return manifest, read_state(path, manifest.digest, where)

    def set_aside(self, name: str) -> None:
        """Make a checkpoint none any more; a folder keeps its files under another name, an object store does not.

        Raises:
            FencedError: another worker took the folder over.
            CheckpointUnavailable: it could not be done.
        """
        with self._io(f"{name} set aside"):
            self._base.set_aside(name)

    def lock(
        self, owner: str, wait_seconds: float = LOCK_WAIT_SECONDS, confirm: Callable[[], None] = lambda: None
    ) -> None:
        """Keep other workers out of a folder and remove what a killed one left; in an object store, do nothing.

        Args:
            owner: transactional id and topic of this worker, which has fenced others of that id.
            wait_seconds: how long a holder with the same owner text has to leave. Then the folder is taken from it: it
                finds out before it next writes, and gets a `FencedError`.
            confirm: called before it is taken; raises when it was us who were fenced meanwhile.

        Raises:
            RefusedToStart: a living process of another owner holds the folder, or it cannot be locked.
        """
        self._base.lock(owner, wait_seconds, confirm)

    def unlock(self) -> None:
        """Let other workers in; this one cannot write any more until it locks again."""
        self._base.unlock()

    def _prune(self, written: str) -> None:
        """Keep `written` and the newest before it, by name only: which of them are damaged is not known here.

        What is newer is of a worker that has replaced this one, or of epochs that were lost: not ours to remove.
        """
        failed: CheckpointUnavailable | None = None
        for name in [name for name in self.names() if name < written][self._keep - 1 :]:
            try:
                with self._io(f"{name}, no longer kept, could not be removed"):
                    self._base.remove(name)
            except CheckpointUnavailable as error:  # one that cannot be removed does not keep the others
                failed = failed or error
        if failed is not None:
            raise failed
        self._watch("checkpoint_pruned")

    @contextmanager
    def _io(self, what: str) -> Iterator[None]:
        try:
            yield
        except LockLost as error:
            raise CheckpointUnlocked(f"{self.shown}: {what}: {error}") from error
        except OSError as error:
            raise CheckpointUnavailable(f"{self.shown}: {what}: {error}{_advice(error.errno)}") from error


def _base(url: str, watch: Watch, *, read_only: bool, is_group_readable: bool) -> _Base:
    protocol, separator, path = url.partition("://")
    if separator and protocol not in ("file", "local"):
        return RemoteBase(url, watch)
    folder = Path(path) if separator else Path(url).expanduser()
    return LocalBase(folder, watch, read_only=read_only, is_group_readable=is_group_readable)


def _save(moment: Moment, state: State, created_at_ms: int, path: Path) -> Manifest:
    facts = write_state(path, state)
    return Manifest(moment=moment, digest=digest(state), created_at_ms=created_at_ms, files={path.name: facts})


@contextmanager
def _missing_is_damage(where: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise CheckpointDamaged(f"{where}: expected a file, found none") from error


def _advice(number: int | None) -> str:
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            return ". Make room there, or lower checkpoints.keep"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ". Let the worker's user read and write there (chown, chmod)"
    return ""
