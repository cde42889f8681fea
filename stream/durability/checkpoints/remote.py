"""Checkpoints in an object store, by fsspec.

There is no renaming, so the manifest is put last: a folder without one is not a checkpoint. There is no lock either: a
worker that was fenced in Kafka can still put a checkpoint, but only of an epoch that was committed, and the states of
one epoch are equal.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations

from stream.durability.checkpoints.manifest import MANIFEST, Manifest, encode, is_name
from stream.durability.checkpoints.state_file import free_name
from stream.errors import ConfigError, MillstreamError, RefusedToStart
from stream.failpoints import Watch

__all__ = ["RemoteBase"]


class RemoteBase:
    """The place of an object store below which the checkpoints are.

    A state passes through a file in the folder for temporary files (`TMPDIR`), which must have room for it.

    Raises:
        ConfigError: the protocol is unknown, or its package is not installed.
        RefusedToStart: the place cannot be read.
    """

    def __init__(self, url: str, watch: Watch) -> None:
        protocol = url.partition("://")[0]
        self._files, path = _file_system(url, protocol)
        self._path = path.rstrip("/")
        self._watch = watch
        self.shown = f"{protocol}://{self._path.lstrip('/')}"  # not the URL itself: it may hold a password
        try:
            with _os_errors():
                self._files.makedirs(self._path, exist_ok=True)
            self.names()
        except OSError as error:
            raise RefusedToStart(
                f"checkpoints.url {self.shown}: expected a place that can be read and written: {error}. Check its name "
                "and the worker's credentials for it"
            ) from error

    def names(self) -> list[str]:
        """Return the names of the finished checkpoints, in no order."""
        with _os_errors():
            return [name for name in self._folders() if self._files.isfile(self._at(name, MANIFEST))]

    def manifest_bytes(self, name: str) -> bytes:
        """Return the file of the manifest."""
        with _os_errors():
            data: bytes = self._files.cat_file(self._at(name, MANIFEST))
            return data

    @contextmanager
    def local_file(self, name: str, file: str) -> Iterator[Path]:
        """Lend the path of a copy of a file of a checkpoint."""
        with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
            path = Path(folder) / file
            with _os_errors():
                self._files.get_file(self._at(name, file), str(path))
            yield path

    def write(self, name: str, save: Callable[[Path], Manifest]) -> Manifest:
        """Add a checkpoint, or replace the one of that name; at every instant the old or the new one is there.

        Args:
            name: of the checkpoint.
            save: writes the state to the path that it gets, and returns the manifest.

        Raises:
            OSError: the store refused.
        """
        with _os_errors(), tempfile.TemporaryDirectory(prefix="millstream-") as folder:
            path = Path(folder) / free_name(self._entries(name))
            manifest = save(path)
            self._watch("checkpoint_written")
            self._files.makedirs(self._at(name), exist_ok=True)
            self._files.put_file(str(path), self._at(name, path.name))
            self._watch("checkpoint_synced")
            self._files.pipe_file(self._at(name, MANIFEST), encode(manifest))
            self._watch("checkpoint_renamed")
            for stray in set(self._entries(name)) - {MANIFEST, *manifest.files}:
                self._files.rm_file(self._at(name, stray))
            self._remove_unfinished(name)
        return manifest

    def remove(self, name: str) -> None:
        """Remove a checkpoint, its manifest first.

        Raises:
            OSError: the store refused.
        """
        with _os_errors():
            if self._files.isfile(self._at(name, MANIFEST)):
                self._files.rm_file(self._at(name, MANIFEST))
            self._files.invalidate_cache()
            if self._files.exists(self._at(name)):  # where folders are only prefixes, the last file takes it along
                self._files.rm(self._at(name), recursive=True)

    def set_aside(self, name: str) -> None:
        """Remove a checkpoint: without folders that can be renamed there is no cheaper way to make it none any more."""
        self.remove(name)

    def lock(self, owner: str, wait_seconds: float, confirm: Callable[[], None]) -> None:
        """Do nothing; see above."""

    def unlock(self) -> None:
        """Do nothing; see above."""

    def _remove_unfinished(self, newest: str) -> None:
        """Remove what a killed worker was putting; what is newer than ours may be another worker's, under way."""
        finished = self.names()
        for name in self._folders():
            if name < newest and name not in finished:
                self.remove(name)

    def _folders(self) -> list[str]:
        return [name for name in self._entries("") if is_name(name)]

    def _entries(self, name: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            paths: list[str] = self._files.ls(self._at(name), detail=False)
        except FileNotFoundError:
            return []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def _at(self, *parts: str) -> str:
        return "/".join((self._path, *parts)).rstrip("/")


def _file_system(url: str, protocol: str) -> tuple[Any, str]:
    try:
        files, path = url_to_fs(url)
    except ImportError as error:
        package = str(known_implementations.get(protocol, {}).get("class", "")).partition(".")[0]
        command = f"pip install {package}" if package not in ("", "fsspec") else str(error)
        raise ConfigError(f"checkpoints.url: {protocol}:// needs a package that is not installed: {command}") from error
    except Exception as error:  # an unknown protocol, or whatever a file system makes of a URL that it cannot read
        raise ConfigError(
            f"checkpoints.url: expected a folder or a URL that fsspec knows, such as s3://bucket/path, got one with "
            f"{protocol}:// ({type(error).__name__})"
        ) from error
    return files, path


@contextmanager
def _os_errors() -> Iterator[None]:
    """Give the errors of a store one type: clients of object stores have many of their own."""
    try:
        yield
    except (OSError, AssertionError, MillstreamError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
