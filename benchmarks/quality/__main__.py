"""Runs models over a file of events, each event ranked before it is learned, and says who is ahead.

    python -m benchmarks.quality --events events.parquet --models quick --report out.json --plot out.png

The file needs the columns user, item and ts (milliseconds or timestamps); type and session are used where they are.
Other files are told how they are understood as of `millstream produce`: --preset retailrocket, --map user=customer_id.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.quality.children import OURS, Job, missing_package, run_child, with_seed
from benchmarks.quality.errors import QualityError
from benchmarks.quality.mapped_table import reading
from benchmarks.quality.peers import PEERS, QUICK
from benchmarks.quality.plot import check_matplotlib, draw
from benchmarks.quality.protocol import Rules
from benchmarks.quality.report import facts_of, merged_seeds, progress, show_header, show_table, write_report
from benchmarks.quality.stream import Stream, read_stream
from producers.files.presets import PRESETS

MODELS = (OURS, *PEERS)
WIDTH_OF_FILES = 160
"""Columns of text where the output is no terminal."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, 1 where a model failed, 2 where something has to be put right."""
    try:
        options = _parser().parse_args(arguments)
        return _run(options)
    except QualityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OF_FILES)
    names, seeds, rules = chosen(options.models), _seeds(options), _rules(options)
    if options.plot is not None:
        check_matplotlib()
    given = {"ts_unit": options.ts_unit, "relative_time": options.relative_time, "skip_bad": options.skip_bad}
    how = reading(options.preset, options.map, options.map_type, **given)
    stream = read_stream(options.events, items=options.items, only=options.type, limit=options.limit, options=how)
    report: dict[str, Any] = {**facts_of(stream, rules), "models": {}, "not_run": {}, "failed": {}}
    report["protocol"]["seeds"] = seeds
    show_header(console, report)
    for name in names:
        package = missing_package(name)
        if package is not None:
            report["not_run"][name] = f"needs {package}: pip install {package}"
            continue
        try:
            report["models"][name] = _over_seeds(console, name, stream, rules, seeds, options.sasrec_epochs)
        except QualityError as error:
            report["failed"][name] = report["not_run"][name] = str(error)
        write_report(options.report, report)  # after each, so that nothing measured is lost
    write_report(options.report, report)
    show_table(console, report)
    if options.plot is not None and report["models"]:
        draw(report, options.plot)
    return 1 if report["failed"] else 0


def _over_seeds(
    console: Console, name: str, stream: Stream, rules: Rules, seeds: Sequence[int], sasrec_epochs: int
) -> dict[str, Any]:
    is_moved = name == OURS or PEERS[name].uses_chance or rules.ties == "shuffle"
    by_seed = {}
    for seed in seeds if is_moved else seeds[:1]:
        label = name if len(seeds) == 1 else f"{name}, seed {seed}"
        with progress(console, label, len(stream)) as shown:
            job = Job(name=name, stream=stream, rules=with_seed(rules, seed), sasrec_epochs=sasrec_epochs)
            by_seed[seed] = run_child(job, shown)
    if len(seeds) == 1:
        return by_seed[seeds[0]]
    return merged_seeds(by_seed)


def chosen(text: str) -> list[str]:
    """Return the names of models that ``text`` asks for: all, quick, or names with commas.

    Raises:
        QualityError: a name is unknown.
    """
    named: list[str] = []
    for name in text.split(","):
        if name in ("all", "quick"):
            named += MODELS if name == "all" else QUICK
        elif name in MODELS:
            named.append(name)
        else:
            raise QualityError(f"--models: expected all, quick or some of {', '.join(MODELS)}, got {name!r}")
    return list(dict.fromkeys(named))


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.seeds is None:
        return [options.seed]
    try:
        seeds = list(dict.fromkeys(int(part) for part in options.seeds.split(",")))
    except ValueError:
        raise QualityError(f"--seeds: expected whole numbers with commas, like 0,1,2, got {options.seeds!r}") from None
    if min(seeds) < 0:
        raise QualityError(f"--seeds: expected whole numbers >= 0, got {options.seeds!r}")
    return seeds


def _rules(options: argparse.Namespace) -> Rules:
    for name, low in (("batch", 1), ("limit", 1), ("sasrec_epochs", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < low:
            raise QualityError(f"--{name.replace('_', '-')}: expected a whole number >= {low}, got {value}")
    for name in ("report", "plot"):
        path = getattr(options, name)
        if path is not None and path.is_dir():
            raise QualityError(f"--{name}: expected a file, got the folder {path}")
    if options.leave_one_out and options.history == "stale":
        raise QualityError("--leave-one-out ranks with the whole history: leave --history stale out")
    return Rules(
        batch=options.batch,
        repeat=options.repeat,
        ties=options.ties,
        history=options.history,
        leave_one_out=options.leave_one_out,
        seed=options.seed,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise QualityError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m benchmarks.quality", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=Path, required=True, help="parquet, .csv or .jsonl: user, item, ts")
    parser.add_argument("--preset", help=f"a public file in its published form: {', '.join(PRESETS)}")
    parser.add_argument("--map", action="append", metavar="FIELD=COLUMN", help="as of millstream produce")
    parser.add_argument("--map-type", action="append", metavar="THEIRS=OURS", help="as of millstream produce")
    parser.add_argument("--ts-unit", help="as of millstream produce")
    parser.add_argument("--relative-time", action="store_true", help="as of millstream produce")
    parser.add_argument("--skip-bad", action="store_true", help="leave out rows that are no events")
    parser.add_argument("--items", type=Path, help="catalogue: only events of its items are kept")
    parser.add_argument("--models", default="quick", help=f"all, quick (default), or some of {', '.join(MODELS)}")
    parser.add_argument("--batch", type=int, default=256, help="events per micro-batch (default 256)")
    parser.add_argument("--repeat", action="store_true", help="items may come again: nothing is removed")
    parser.add_argument("--ties", choices=("file", "shuffle"), default="file", help="order of events of equal ts")
    parser.add_argument("--history", choices=("fresh", "stale"), default="fresh", help="what is known of the user")
    parser.add_argument("--limit", type=int, help="only the first N events")
    parser.add_argument("--type", help="only events of this type, for example purchase")
    parser.add_argument("--seed", type=int, default=0, help="of the models and of the order of ties")
    parser.add_argument("--seeds", help="several, like 0,1,2: means, and the spread")
    parser.add_argument("--sasrec-epochs", type=int, default=30, help="most epochs of sasrec-offline (default 30)")
    parser.add_argument("--leave-one-out", action="store_true", help="rank only each user's last event, at the end")
    parser.add_argument("--report", type=Path, required=True, help="all numbers as JSON")
    parser.add_argument("--plot", type=Path, help="a picture, for example out.png")
    return parser


if __name__ == "__main__":
    sys.exit(main())
