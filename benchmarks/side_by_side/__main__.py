"""Compare two commits bit for bit: what they publish, what they journal and what they learn from the same stream.

    python -m benchmarks.side_by_side BEFORE [AFTER] [--but FIELD,FIELD] [--events 20000] [--batch 256]
                                      [--scorer NAME] [--json report.json]

For changes that are to change nothing, such as a module that moves or a loop that gets faster. BEFORE and AFTER are
commits; without AFTER it is the working tree, with all that is not committed:

    python -m benchmarks.side_by_side HEAD                   does my change leave every bit as it was?
    python -m benchmarks.side_by_side v1 v2 --but chain      and between two commits, but for one field of the journal?
    python -m benchmarks.side_by_side HEAD --scorer transitions --events 2000         in some seconds

The last bits of a float depend on the processor, so no file of expected values can be kept: both trees run here, one
after the other, each in a process of its own, with OMP_NUM_THREADS as it is given or 1. They read the first events of
Online Retail in 2 partitions, with malformed, repeated and late ones among them, through the log in memory, with clocks
that do not run by themselves. Half-way a checkpoint is written; some batches later the worker is killed, and the next
one learns these batches again. Compared are the keys and values of all lists, all dead letters (but for the header with
the version), all journal records, and the digest of the learned state at the kill, after the recovery and at the end.

The exit status is 0 when all is equal but for the names in `--but`, which are fields of the journal or headers of dead
letters; 1 when it is not, or a run failed; 2 for wrong usage. Where a class was renamed, or is defined twice, WANTED in
`definitions.py` says what to look for.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.side_by_side.compare import Row, compare
from benchmarks.side_by_side.definitions import find_definitions
from benchmarks.side_by_side.errors import CannotCompare, RunFailed
from benchmarks.side_by_side.events import draw_records
from benchmarks.side_by_side.runs import Findings, make_job, run_tree
from benchmarks.side_by_side.trees import Tree, resolve, tree_of

EQUAL, DIFFERENT, WRONG_USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
ROOT = Path(__file__).resolve().parents[2]
REPORT_SHARES = 4
"""How many times a run says how far it is, where no line can be kept up to date."""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Compare two trees of the checkout at `root`; return the exit status."""
    options = _options(arguments)
    try:
        commits = [None if commit is None else resolve(root, commit) for commit in (options.before, options.after)]
        job = make_job(draw_records(options.events), options.batch, options.scorer)
        with ExitStack() as stack:
            base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millstream-side-by-side-")))
            trees = [
                stack.enter_context(tree_of(root, commit, base / side))
                for side, commit in zip(("before", "after"), commits, strict=True)
            ]
            for tree in trees:
                find_definitions(tree.folder)  # said before anything runs
            found = []
            for number, tree in enumerate(trees):
                with _progress(tree.name) as say:
                    found.append(run_tree(tree, job, base / f"run-{number}", say))
    except CannotCompare as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    except RunFailed as error:
        print(error, file=sys.stderr)
        return DIFFERENT
    except KeyboardInterrupt:
        print("stopped; the trees are taken away again", file=sys.stderr)
        return INTERRUPTED
    rows = compare(found[0], found[1], options.but)
    _print(trees, found, rows, options)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(_report(trees, found, rows, options))) + b"\n")
    return EQUAL if all(row.is_equal for row in rows) else DIFFERENT


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("before", metavar="BEFORE", help="a commit")
    parser.add_argument("after", metavar="AFTER", nargs="?", help="a commit; the working tree where none is given")
    parser.add_argument(
        "--but",
        type=_names,
        default=[],
        metavar="FIELD,FIELD",
        help="fields of the journal and headers of dead letters that may differ or be missing on one side",
    )
    parser.add_argument(
        "--events", type=_positive, default=20_000, metavar="N", help="of the bundled data set (%(default)s)"
    )
    parser.add_argument("--batch", type=_positive, default=256, metavar="B", help="records of a batch (%(default)s)")
    parser.add_argument("--scorer", help="instead of the default one; transitions is quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text}")
    return int(text)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how far one run is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name)

        def say(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)
            if not progress.console.is_terminal and done % -(-of // REPORT_SHARES) == 0:
                progress.console.print(f"{name}: batch {done} of {of}")

        yield say


def _print(trees: list[Tree], found: list[Findings], rows: list[Row], options: argparse.Namespace) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table("", "count", trees[0].name, trees[1].name, "")
    for row in rows:
        count = str(row.counts[0]) if row.counts[0] == row.counts[1] else " and ".join(map(str, row.counts))
        table.add_row(row.what, count, *row.hashes, "equal" if row.is_equal else "DIFFERENT")
    table.add_section()
    for what, seconds in _cpu_seconds(found).items():
        share = f"{seconds[1] / seconds[0]:.2f} times" if seconds[0] else ""
        table.add_row(what, "", *(f"{each:.1f}" for each in seconds), share)
    console.print(table)
    for row in rows:
        if not row.is_equal:
            console.print(f"{row.what}: the first that differs is {row.difference}", markup=False)
    allowed = f", but for {', '.join(options.but)}" if options.but else ""
    verdict = "equal" if all(row.is_equal for row in rows) else "different"
    console.print(f"{verdict}{allowed}: {options.events} events in batches of {options.batch}", markup=False)


def _cpu_seconds(found: list[Findings]) -> dict[str, list[float]]:
    return {
        "CPU seconds": [one.cpu_seconds for one in found],
        "of these, of the stream": [one.stream_cpu_seconds for one in found],
    }


def _report(trees: list[Tree], found: list[Findings], rows: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "trees": [tree.name for tree in trees],
        "events": options.events,
        "batch": options.batch,
        "but": options.but,
        "rows": [msgspec.to_builtins(row) | {"is_equal": row.is_equal} for row in rows],
        "cpu_seconds": [one.cpu_seconds for one in found],
        "stream_cpu_seconds": [one.stream_cpu_seconds for one in found],
        "is_equal": all(row.is_equal for row in rows),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(main())
