"""Runs one model in a process of its own, so that its memory and its failures are its own."""

import importlib.util
import multiprocessing as mp
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.quality.errors import QualityError
from benchmarks.quality.metrics import Tally
from benchmarks.quality.ours import OurContestant
from benchmarks.quality.peers import PEERS, Entry
from benchmarks.quality.peers.peer import Sizes
from benchmarks.quality.protocol import TORCH_THREADS, Contestant, Part, PeerContestant, Ranked, Rules, walk
from benchmarks.quality.stream import Stream, shuffle_ties
from online_models import keep_freed_memory, limit_cpu_threads

__all__ = ["OURS", "Job", "measure", "missing_package", "run_child"]

OURS = "default"
_REPORT_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One model, one seed."""

    name: str
    stream: Stream
    rules: Rules
    sasrec_epochs: int = 30


def missing_package(name: str) -> str | None:
    """Return what has to be installed before the model can run, or None."""
    package = None if name == OURS else PEERS[name].package
    return package if package is not None and importlib.util.find_spec(package) is None else None


def measure(job: Job, seen: Callable[[int, float], None] = lambda done, ndcg: None) -> dict[str, Any]:
    """Return the figures of one model on one stream; ``seen`` is told events done and NDCG@10 so far."""
    stream = shuffle_ties(job.stream, job.rules.seed) if job.rules.ties == "shuffle" else job.stream
    start_mb = peak_mb()
    contestant = _contestant(job, stream)
    tally = Tally(stream)

    def note(num_done: int, item_rows: Any, ranked: Ranked) -> None:
        tally(num_done, item_rows, ranked)
        seen(num_done, tally.running_ndcg)

    begun = time.perf_counter()
    walk(stream, contestant, job.rules, note)
    figures = tally.figures()
    num_asked = int(stream.is_last.sum()) if job.rules.leave_one_out else len(stream) * _share_asked(job.name)
    figures |= {
        "ms_learn": 1000.0 * contestant.learn_seconds / len(stream),
        "ms_rank": 1000.0 * contestant.rank_seconds / max(num_asked, 1),
        "wall_seconds": time.perf_counter() - begun,
        "peak_mb": peak_mb(),
        "start_mb": start_mb,  # of which this much is Python, torch and the stream
    }
    if isinstance(contestant, OurContestant):
        figures["fusion_weights_by_tenth"] = contestant.fusion_weights
    elif PEERS[job.name].note:
        figures["note"] = PEERS[job.name].note
    return figures


def run_child(job: Job, seen: Callable[[int, float], None]) -> dict[str, Any]:
    """Return the figures that a new process found.

    Raises:
        QualityError: the process failed or was ended; the message says how.
    """
    context = mp.get_context("spawn")  # a fork would take over the memory of this process
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            kind, value = ours.recv()
            if kind == "figures":
                return dict(value)
            if kind == "failed":
                raise QualityError(str(value))
            seen(*value)
    except EOFError:
        process.join()
        raise QualityError(
            f"its process ended with code {process.exitcode}: -9 is most often too little memory, use --limit"
        ) from None
    finally:
        process.join()


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, MB (10**6 bytes).

    On Linux from the high-water mark of this very program: ``ru_maxrss`` may be that of whoever started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def _child(job: Job, pipe: Connection) -> None:
    # As a worker does, for every model alike.
    keep_freed_memory()
    limit_cpu_threads(TORCH_THREADS)
    last = 0.0

    def seen(num_done: int, ndcg: float) -> None:
        nonlocal last
        if time.perf_counter() - last > _REPORT_SECONDS:
            last = time.perf_counter()
            pipe.send(("progress", (num_done, ndcg)))

    try:
        pipe.send(("figures", measure(job, seen)))
    except Exception as error:  # whatever it is, it belongs into the report of this model, and others go on
        traceback.print_exc()
        pipe.send(("failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"))
    finally:
        pipe.close()


def _contestant(job: Job, stream: Stream) -> Contestant:
    torch.manual_seed(job.rules.seed)
    if job.name == OURS:
        return OurContestant(stream, job.rules)
    entry: Entry = PEERS[job.name]
    sizes = Sizes(
        num_users=stream.num_users,
        num_items=stream.num_items,
        num_sessions=stream.num_sessions,
        num_events=len(stream),
        has_sessions=stream.has_sessions,
        seed=job.rules.seed,
        sasrec_epochs=job.sasrec_epochs,
    )
    return PeerContestant(entry.make(sizes), stream, job.rules, Part(begins=entry.begins, every=entry.every))


def _share_asked(name: str) -> float:
    """Return the share of the events that a model is asked about, those on items that a user has included."""
    return 1.0 if name == OURS else (1.0 - PEERS[name].begins) / PEERS[name].every


def with_seed(rules: Rules, seed: int) -> Rules:
    """Return the rules with another seed."""
    return replace(rules, seed=seed)
