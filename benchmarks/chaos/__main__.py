"""Kills workers at random and compares what is left with runs that were never interrupted.

    python -m benchmarks.chaos --runs 300 --seed 1 [--jobs 2] [--memory] [--verbose]

Each run has a seed of its own, is drawn from it, and can be repeated alone: `--runs 1 --seed THAT`.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.plan import seed_of_run
from benchmarks.chaos.series import outcomes
from stream.failpoints import INSTANTS


@contextmanager
def progress_line(num_runs: int) -> Iterator[Progress]:
    """Show one line that says how far it is."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[faults]} faults, {task.fields[parted]} parted"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task("runs", total=num_runs, faults=0, parted=0)
        yield progress


def how_to_repeat(outcome: Outcome, options: argparse.Namespace) -> str:
    """Return the command that repeats one run."""
    memory = " --memory" if options.memory else ""
    return f"python -m benchmarks.chaos --runs 1 --seed {outcome.seed}{memory}"


def run_line(outcome: Outcome) -> str:
    """Return what became of a run, in one line."""
    faults = [f"{fault.action} at {fault.instant}" for fault in outcome.fired]
    weather = [f"{number} {kind}" if number > 1 else kind for kind, number in outcome.weather.items() if number]
    happened = ", ".join(faults + weather) or "nothing"
    became = f"parted: {outcome.parted[0]}" if outcome.parted else "equal"
    return f"seed {outcome.seed}, {outcome.seconds:.1f} s, {happened}: {became}"


def kinds(done: list[Outcome]) -> str:
    """Return how often each kind of fault and trouble came."""
    total = Counter[str](fault.action for outcome in done for fault in outcome.fired)
    for outcome in done:
        total.update(outcome.weather)
    return " · ".join(f"{kind} {number}" for kind, number in total.most_common() if number)


def tally(done: list[Outcome]) -> Table:
    """Return how often each instant was hit by what."""
    hits = Counter((fault.instant, fault.action) for outcome in done for fault in outcome.fired)
    planned = Counter(fault.instant for outcome in done for fault in outcome.planned)
    actions = sorted({action for _, action in hits})
    table = Table("instant", *actions, "planned")
    for instant in INSTANTS:
        table.add_row(instant, *(str(hits[instant, action]) for action in actions), str(planned[instant]))
    return table


def summary(done: list[Outcome], seconds: float) -> str:
    """Return the one line that says it all."""
    equal = sum(not outcome.parted for outcome in done)
    fired, planned = sum(len(one.fired) for one in done), sum(len(one.planned) for one in done)
    relearned = sum(one.relearned_batches for one in done)
    recovery = sum(one.recovery_seconds for one in done)
    return (
        f"{equal} of {len(done)} equal · {fired} faults of {planned} planned · {relearned} batches re-learned, "
        f"{recovery:.0f} s of recovery · {seconds:.0f} s"
    )


def main() -> int:
    """Run them all; return 1 when one parted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="of the first run, from which those of the others come")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--memory", action="store_true", help="in memory, without a broker and without processes")
    parser.add_argument("--verbose", action="store_true", help="say what was hit")
    options = parser.parse_args()
    console, begun, done = Console(soft_wrap=True, highlight=False), time.monotonic(), []
    # In memory no disk is tested, and waiting for one takes a third of the time.
    base = "/dev/shm" if options.memory and Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="millstream-chaos-", dir=base))
    seeds = [seed_of_run(options.seed, number) for number in range(options.runs)]
    with progress_line(options.runs) as progress:
        for outcome in outcomes(seeds, options.jobs, folder, in_memory=options.memory):
            done.append(outcome)
            parted = [one for one in done if one.parted]
            faults = sum(len(one.fired) for one in done)
            progress.update(progress.task_ids[0], advance=1, faults=faults, parted=len(parted))
            progress.console.print(run_line(outcome), soft_wrap=True, markup=False)
    for outcome in parted:
        words = "\n  ".join(outcome.parted)
        console.print(
            f"seed {outcome.seed} parted:\n  {words}\n  its faults: {outcome.planned}\n  its files: "
            f"{folder / str(outcome.seed)}\n  again: {how_to_repeat(outcome, options)}",
            markup=False,
        )
    if not parted:
        shutil.rmtree(folder, ignore_errors=True)
    if options.verbose:
        console.print(tally(done))
    console.print(kinds(done))
    console.print(summary(done, time.monotonic() - begun))
    return 1 if parted else 0


if __name__ == "__main__":
    sys.exit(main())
