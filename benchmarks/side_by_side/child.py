"""Carry a stream of records through the worker of one source tree, and write down all that comes of it.

A program of its own, `python -P child.py FOLDER`: it finds its job in the folder and leaves its findings there. The
tree that it drives may be of another commit than this file, with its modules elsewhere, so it imports nothing of ours
by name: the job names the module of everything it needs. All that it calls must be there in both trees; a method that
was renamed has all its names in `_METHODS`.
"""

import importlib
import itertools
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["FINDINGS", "JOB", "carry", "strangers"]

JOB, FINDINGS = "job.msgpack", "findings.msgpack"

# (partition, key, value, timestamp in ms)
_Record = tuple[int, bytes, bytes, int]

_METHODS = {"moment": ("moment", "position", "stream_position")}
"""What is called here to all the names that it has had."""
_DOWN_MS = 1_800_000
"""How long there is no worker: what takes this clock for the journal's ends up different."""


class _Worker:
    """One worker after the other on one log in memory and one folder of checkpoints.

    Args:
        parts: the classes of the tree, under the names of `definitions.WANTED`.
        settings: of all workers.
        num_partitions: of the events topic.
    """

    def __init__(self, parts: Mapping[str, Any], settings: Any, num_partitions: int) -> None:
        self._parts, self._settings = parts, settings
        topics = settings.topics
        self.log = parts["MemoryLog"](num_partitions, events=topics.events, journal=topics.journal)
        self._now_ms = self._down_ms = 0
        # Goes on with every look, which only matters to the last batch: it is not full, and closes by its age.
        self._seconds = itertools.count()
        self._store: Any = None
        self.pipeline: Any = None

    def start(self) -> None:
        """Start the next worker, which takes over and rebuilds the state."""
        parts, settings = self._parts, self._settings
        self._store = parts["CheckpointStore"](settings.checkpoints.url, settings.checkpoints.keep)
        transport = parts["MemoryTransport"](self.log)
        recovery = parts["Recovery"](
            settings,
            lambda: parts["MemoryHistory"](self.log),
            self._store,
            lambda: parts["WorkerState"](settings, transport.partitions),
        )
        clocks = parts["Clocks"](
            monotonic=lambda: float(next(self._seconds)), wall_ms=lambda: self._now_ms + self._down_ms
        )
        self.pipeline = parts["Pipeline"](settings, transport, recovery, clocks=clocks)

    def kill(self) -> None:
        """End the worker as a killed process ends: nothing is finished, and the system drops the lock."""
        self._store.unlock()
        self._store = self.pipeline = None
        self._down_ms += _DOWN_MS

    def learn(self, records: Sequence[_Record]) -> None:
        """Produce these records and carry them, as one batch."""
        for partition, key, value, timestamp_ms in records:
            self.log.produce(value, partition=partition, key=key, timestamp_ms=timestamp_ms)
        self._now_ms = records[-1][3]
        if self.pipeline.run_once() is None:
            raise RuntimeError(f"expected a batch of {len(records)} records, got none")

    def checkpoint(self) -> None:
        """Write the state down, and tell the pipeline so, as the writing thread does."""
        self._store.write(_method(self.pipeline, "moment")(), self.pipeline.state.state(), self._now_ms)
        self.pipeline.checkpoint = self._store.names()[0]

    def digest(self) -> str:
        """Return the digest of all that was learned."""
        return str(self._parts["digest"](self.pipeline.state.state()))


def carry(
    parts: Mapping[str, Any], job: Mapping[str, Any], say: Callable[[int, int], None] = lambda done, of: None
) -> dict[str, Any]:
    """Return all that came of a stream, and the CPU seconds that it took.

    After the batch `checkpoint_after` a checkpoint is written; after the batch `kill_after` the worker is killed, so
    that the next one learns the batches between the two again.

    Args:
        parts: the classes of the tree, under the names of `definitions.WANTED`.
        job: what `runs.Job` says.
        say: told how many batches are done, of how many.
    """
    begun = time.process_time()
    settings = parts["Settings"].model_validate(job["settings"])
    worker = _Worker(parts, settings, job["num_partitions"])
    records, size = job["records"], settings.batching.max_events
    batches = [records[first : first + size] for first in range(0, len(records), size)]
    digests: dict[str, str] = {}
    worker.start()
    for number, batch in enumerate(batches, 1):
        worker.learn(batch)
        if number == job["checkpoint_after"]:
            worker.checkpoint()
        if number == job["kill_after"]:
            digests["when killed"] = worker.digest()
            worker.kill()
            worker.start()
            digests["recovered"] = worker.digest()
        say(number, len(batches))
    digests["at the end"] = worker.digest()
    worker.kill()
    topics, published = settings.topics, worker.log.published
    if len(published(topics.journal)) != len(batches):
        raise RuntimeError(f"expected {len(batches)} batches, the journal tells of {len(published(topics.journal))}")
    return {
        "lists": [(out.key, out.value) for out in published(topics.recommendations)],
        "dead_letters": [(out.key, out.value, out.headers) for out in published(topics.dead_letters)],
        "journal": [out.value for out in published(topics.journal)],
        "digests": digests,
        "stream_cpu_seconds": time.process_time() - begun,
    }


def _method(owner: object, name: str) -> Any:
    """Return a method by the first of its names that there is."""
    for each in _METHODS[name]:
        if hasattr(owner, each):
            return getattr(owner, each)
    raise AttributeError(f"{type(owner).__name__}: expected one of {', '.join(_METHODS[name])}, found none")


def strangers(tree: Path, packages: Sequence[str]) -> list[str]:
    """Return the modules of these packages that were loaded from elsewhere than the tree."""
    loaded = {name: module.__file__ for name, module in sys.modules.items() if getattr(module, "__file__", None)}
    return sorted(
        f"{name} ({file})"
        for name, file in loaded.items()
        if name.partition(".")[0] in packages and not Path(str(file)).resolve().is_relative_to(tree.resolve())
    )


def _main(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this ends it
    told, sys.stdout = sys.stdout, sys.stderr  # whatever the tree prints is no progress
    logging.getLogger("millstream").addHandler(logging.NullHandler())
    job = msgspec.msgpack.decode((folder / JOB).read_bytes())
    parts = {key: getattr(importlib.import_module(module), name) for key, (module, name) in job["definitions"].items()}
    findings = carry(parts, job, lambda done, of: print(done, of, file=told, flush=True))
    if others := strangers(Path(job["tree"]), job["packages"]):
        raise RuntimeError(f"expected everything from {job['tree']}, got {', '.join(others)}")
    findings["cpu_seconds"] = time.process_time()
    (folder / FINDINGS).write_bytes(msgspec.msgpack.encode(findings))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
