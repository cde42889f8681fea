"""One tree run in a process of its own: its job, and what it found."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.side_by_side import child
from benchmarks.side_by_side.definitions import find_definitions, packages_of
from benchmarks.side_by_side.errors import CannotCompare, RunFailed
from benchmarks.side_by_side.events import NUM_PARTITIONS, InRecord
from benchmarks.side_by_side.trees import Tree

__all__ = ["Findings", "Job", "make_job", "run_tree"]

LEAST_BATCHES = 4
RELEARNED_RATIO = 0.1
"""Share of the batches that the second worker learns again."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one run; `bytes` are as they were published."""

    lists: list[tuple[bytes | None, bytes | None]]
    """Key and value."""
    dead_letters: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]
    """Key, value and headers."""
    journal: list[bytes]
    digests: dict[str, str]
    """When to the digest of the whole learned state."""
    cpu_seconds: float = 0.0
    """Of the whole process, with all its threads."""
    stream_cpu_seconds: float = 0.0
    """Of these, without the imports."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What both runs do."""

    records: list[InRecord]
    num_partitions: int
    settings: dict[str, dict[str, object]]
    checkpoint_after: int
    """The batch after which a checkpoint is written."""
    kill_after: int
    """The batch after which the worker is killed."""


def make_job(records: list[InRecord], batch_events: int, scorer: str | None = None) -> Job:
    """Return a job that writes a checkpoint half-way and kills the worker some batches later.

    Args:
        records: in stream order.
        batch_events: records of a batch.
        scorer: instead of the default one.

    Raises:
        CannotCompare: there are too few batches for a checkpoint, a kill and a rest.
    """
    num_batches = -(-len(records) // batch_events)
    if num_batches < LEAST_BATCHES:
        raise CannotCompare(
            f"expected at least {LEAST_BATCHES} batches, got {num_batches}: take more --events or a smaller --batch"
        )
    half = num_batches // 2
    model: dict[str, object] = {"device": "cpu"}  # only the CPU promises the same bits
    if scorer is not None:
        model["scorer"] = scorer
    return Job(
        records=records,
        num_partitions=NUM_PARTITIONS,
        # The folder of the checkpoints is relative to that of the run, so that both have the same settings.
        settings={
            "batching": {"max_events": batch_events},
            "checkpoints": {"url": "checkpoints"},
            "model": model,
        },
        checkpoint_after=half,
        kill_after=half + max(1, round(RELEARNED_RATIO * num_batches)),
    )


def run_tree(tree: Tree, job: Job, folder: Path, say: Callable[[int, int], None] = lambda done, of: None) -> Findings:
    """Return what came of a job in a new process, with this interpreter and the tree first on its path.

    Args:
        tree: the sources.
        job: what to do.
        folder: for the process; does not exist yet.
        say: told how many batches are done, of how many.

    Raises:
        CannotCompare: the tree does not define what is needed.
        RunFailed: the process failed; what it said went to standard error.
    """
    facts = {
        "tree": str(tree.folder),
        "packages": packages_of(tree.folder),
        "definitions": find_definitions(tree.folder),
    }
    folder.mkdir()
    (folder / child.JOB).write_bytes(msgspec.msgpack.encode(msgspec.to_builtins(job, builtin_types=(bytes,)) | facts))
    paths = [str(tree.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-P", str(Path(child.__file__).resolve()), str(folder)]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                done, _, of = line.partition(" ")
                say(int(done), int(of))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RunFailed(f"{tree.name}: its process ended with status {process.returncode}; what it said stands above")
    return msgspec.msgpack.decode((folder / child.FINDINGS).read_bytes(), type=Findings)
