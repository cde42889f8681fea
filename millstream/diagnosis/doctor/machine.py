"""Can the worker write its checkpoints here, take its port, and open as many files as it may need?"""

import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path

from rich.filesize import decimal

from millstream.diagnosis.findings import Finding, error, ok, warning
from millstream.diagnosis.worker_client import ask_worker, url_of
from stream.config.settings import Settings
from stream.errors import MillstreamError

__all__ = ["machine_findings"]

MIN_FREE_BYTES = 1_000_000_000
"""Less is little, whatever the size of a checkpoint: a model grows."""

FEW_DESCRIPTORS = 4_096
"""Enough for all followers and requests of `millstream serve` by default, and what else it opens."""


def machine_findings(settings: Settings) -> list[Finding]:
    """Return what was found of the checkpoints' folder, the port and the limits; nothing is left behind."""
    return [*_checkpoints(settings), _port(settings), _descriptors()]


def _descriptors() -> Finding:
    """Judge the hard limit, to which worker and server raise their own at the start."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= FEW_DESCRIPTORS:
        return ok("open files", "as many as are needed" if hard == resource.RLIM_INFINITY else f"up to {hard:,}")
    fix = f"allow {FEW_DESCRIPTORS:,} (ulimit -Hn, LimitNOFILE of systemd), if 'millstream serve' runs here"
    return warning("open files", f"up to {hard:,}: 'millstream serve' takes fewer connections than it could", fix)


def _checkpoints(settings: Settings) -> list[Finding]:
    url = settings.checkpoints.url
    if not url:
        fix = "set checkpoints.url, unless re-learning the whole log at each start is meant"
        return [warning("checkpoints", "switched off: a restart learns the whole log again", fix)]
    protocol, separator, path = url.partition("://")
    if separator and protocol not in ("file", "local"):
        return [_remote(settings)]
    return _folder(Path(path if separator else url).expanduser(), settings)


def _remote(settings: Settings) -> Finding:
    from stream.durability.checkpoints import CheckpointStore  # it loads torch

    try:
        store = CheckpointStore(settings.checkpoints.url, settings.checkpoints.keep, read_only=True)
        names = store.names()
    except MillstreamError as refused:
        return error("checkpoints", str(refused), "check the URL and the credentials of the object store")
    return ok(
        "checkpoints", f"{store.shown} can be read and holds {len(names)}; whether it can be written is not tried"
    )


def _folder(folder: Path, settings: Settings) -> list[Finding]:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return [error("checkpoints", f"{there} is no folder", "set checkpoints.url to a folder")]
    fix = "let the worker's user write there (chown, chmod), or set checkpoints.url to another folder"
    try:
        if there == folder:
            with tempfile.TemporaryFile(dir=folder, prefix=".tmp-"):
                pass  # asked of the disk: it may be mounted read-only
        elif not os.access(there, os.W_OK | os.X_OK):
            return [error("checkpoints", f"{folder} cannot be made: no right to write to {there}", fix)]
        free_bytes = shutil.disk_usage(there).free
    except OSError as refused:
        return [error("checkpoints", f"{folder} cannot be written to: {refused.strerror}", fix)]
    return [_room(folder, free_bytes, settings.checkpoints.keep), *_readers(folder, settings)]


def _readers(folder: Path, settings: Settings) -> list[Finding]:
    """Judge who may read what people did; what the worker makes is its owner's alone."""
    others = 0o007 if settings.checkpoints.group_readable else 0o077
    loose = [path for path in (folder, *folder.glob("epoch-*")) if path.exists() and path.stat().st_mode & others]
    # A folder that nobody else may enter hides what is in it.
    if folder not in loose or not any(path != folder for path in loose):
        return []
    fix = f"chmod -R go-rwx {folder}, or set checkpoints.group_readable and chmod -R o-rwx"
    return [warning("checkpoints", f"{folder}: others may read ids and histories of users", fix)]


def _room(folder: Path, free_bytes: int, keep: int) -> Finding:
    sizes = [_size(path) for path in folder.glob("epoch-*")]
    largest = max(sizes, default=0)
    needed = max(largest * (keep + 1 - min(keep, len(sizes))), MIN_FREE_BYTES)
    told = f"{folder}: {len(sizes)} there, {decimal(free_bytes)} free"
    if free_bytes >= needed:
        return ok("checkpoints", told)
    fix = "make room, or lower checkpoints.keep"
    if free_bytes < largest:
        return error("checkpoints", f"{told}; the next one of {decimal(largest)} does not fit", fix)
    return warning("checkpoints", f"{told}; {decimal(needed)} would be enough", fix)


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # a worker has removed it just now
        return 0


def _port(settings: Settings) -> Finding:
    config, url = settings.metrics, url_of(settings.metrics)
    if config.port == 0:
        return ok("port", "any free one (metrics.port = 0); the worker's log names it")
    fix = "set metrics.port to another one, and metrics.host to an address of this machine"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as refused:
        worker = ask_worker(url)
        if not worker.problem:
            return ok("port", f"{url} is a running worker's")
        return error("port", f"{config.host}:{config.port} cannot be taken: {refused.strerror or refused}", fix)
    return ok("port", f"{config.host}:{config.port} is free")
