"""Many runs, some at a time."""

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing import connection, parent_process
from pathlib import Path

from benchmarks.chaos.live import run_live
from benchmarks.chaos.memory import run_in_memory
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.plan import draw_plan
from benchmarks.chaos.processes import CONTEXT, one_thread_each
from millstream.local.embedded_broker import EmbeddedBroker

__all__ = ["outcomes", "run_seed"]


def run_seed(seed: int, bootstrap_servers: str, folder: Path) -> Outcome:
    """Carry out the run of a seed; its files stay when it parted.

    Args:
        seed: of the run.
        bootstrap_servers: the broker; empty: in memory.
        folder: where to make its folder.
    """
    mine = folder / str(seed)
    plan = draw_plan(seed, in_memory=not bootstrap_servers)
    try:
        outcome = run_live(plan, bootstrap_servers, mine) if bootstrap_servers else run_in_memory(plan, mine)
    except Exception as error:
        outcome = Outcome(seed, [f"{type(error).__name__}: {error}"], list(plan.faults))
    if not outcome.parted:
        shutil.rmtree(mine, ignore_errors=True)
    return outcome


def outcomes(seeds: list[int], num_jobs: int, folder: Path, *, in_memory: bool) -> Iterator[Outcome]:
    """Yield what became of the run of each seed, as they end; those on the broker share one."""
    with ExitStack() as stack:
        stack.enter_context(one_thread_each())
        broker = None if in_memory else stack.enter_context(EmbeddedBroker())
        servers = broker.bootstrap_servers if broker else ""
        pool = stack.enter_context(ProcessPoolExecutor(num_jobs, CONTEXT, _end_with_parent))
        try:
            for done in as_completed([pool.submit(run_seed, seed, servers, folder) for seed in seeds]):
                yield done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Have this process end when the one that hands out the seeds is killed; its workers then end by themselves."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
