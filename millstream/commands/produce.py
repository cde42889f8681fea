"""`millstream produce`: a file of events goes to Kafka."""

import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from producers.event_encoding import OutgoingRecord, encode_record
from producers.event_sender import EventSender
from producers.files.datasets import dataset
from producers.files.event_file import EventFile, ReadOptions
from producers.files.standard_input import stoppable, until_stopped
from producers.pacing import Pacer
from producers.shutdown import StopFlag, stop_on_signals
from stream.errors import ConfigError

__all__ = ["parse_rate", "produce", "send_records"]

REFRESH_SECONDS = 0.1
STANDARD_INPUT = "-"


# More than six parameters: typer reads the options of a command from its parameters.
def produce(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Parquet, CSV, TSV or JSONL file, or a bundled one: online-retail, otto-mini; - reads standard input.",
        ),
    ],
    rate: Annotated[str | None, typer.Option(help="Events a second, or max. Default: max.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Replay at so many times the recorded pace, by the events' ts.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many events.")] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Column of a field: user=customer_id."),
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", help="Type of rows that name none, e.g. purchase for a file of orders.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="jsonl, csv, tsv or parquet. Default: the file's ending; jsonl for -."),
    ] = None,
    ts_unit: Annotated[str, typer.Option(help="Unit of times given as numbers: s, ms, us or ns.")] = "ms",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Count rows that are no events, and go on.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Send a file of events to Kafka, keyed by user and in file order.

    Columns: user, item, ts, type, value, session, id and context.NAME; only user and item are needed (and --type when
    there is no column type). Ctrl-C waits for what was sent and says how much that was.
    """
    settings = settings_from(config, set_, bootstrap_servers)
    options = ReadOptions(
        columns=_mapping(map_ or []), default_type=type_, format=format_, ts_unit=ts_unit, skip_bad=skip_bad
    )
    with stop_on_signals() as flag:
        is_file = file != STANDARD_INPUT
        events = dataset(file).events(options) if is_file else EventFile(stoppable(sys.stdin.fileno(), flag), options)
        total = events.num_rows if limit is None else min(limit, events.num_rows or limit)
        pacer = Pacer(rate=parse_rate(rate), speed=speed, sleep=flag.sleep)
        records = (encode_record(event, settings.events) for event in islice(until_stopped(events), limit))
        with EventSender(settings.kafka, settings.topics.events, limits=settings.events) as sender:
            send_records(sender, records, pacer, flag, total)
    _report_skipped(events)


def send_records(
    sender: EventSender, records: Iterable[OutgoingRecord], pacer: Pacer, flag: StopFlag, total: int | None
) -> None:
    """Send records when they are due until they end or the flag is set; wait for the acknowledgements; print the count.

    Args:
        sender: where to.
        records: what.
        pacer: when.
        flag: ends it early.
        total: how many there are, if known, for the progress bar.
    """
    started = time.monotonic()
    try:
        with _progress() as progress:
            show = _throttled(progress, progress.add_task("sending", total=total))
            for record in records:
                pacer.wait(record.due_ms)
                if flag.is_set:
                    break
                sender.send_record(record)
                show(sender.num_sent)
            progress.update(progress.task_ids[0], completed=sender.num_sent)
            sender.flush()
    finally:
        # Also after an error: how much is on its way already is the first thing one wants to know.
        _report_sent(sender, time.monotonic() - started, stopped=flag.is_set)


def parse_rate(text: str | None) -> float | None:
    """Return events a second, or None for as fast as possible.

    Raises:
        ConfigError: it is neither a number nor `max`.
    """
    if text is None or text == "max":
        return None
    try:
        return float(text.removesuffix("/s"))
    except ValueError:
        raise ConfigError(f"--rate: expected a number of events a second, or max, got {text}") from None


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise ConfigError(f"--map: expected FIELD=COLUMN, such as user=customer_id, got {pair}")
        mapping[name] = column
    return mapping


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _throttled(progress: Progress, task: object) -> Callable[[int], None]:
    """Return a function that moves the bar at most ten times a second: doing it per event would halve the rate."""
    due = 0.0

    def show(num_sent: int) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + REFRESH_SECONDS
            progress.update(task, completed=num_sent)  # type: ignore[arg-type]

    return show


def _report_sent(sender: EventSender, seconds: float, *, stopped: bool) -> None:
    rate = sender.num_sent / seconds if seconds > 0 else 0.0
    lost = sender.num_sent - sender.num_delivered
    typer.echo(
        f"{'stopped: ' if stopped else ''}sent {sender.num_sent:,} events ({sender.num_bytes:,} bytes) "
        f"in {seconds:.1f} s: {rate:,.0f} events/s" + (f"; {lost:,} of them not acknowledged" if lost else "")
    )


def _report_skipped(events: EventFile) -> None:
    if events.num_bad:
        typer.echo(f"skipped {events.num_bad:,} rows that are no events; the first: {events.first_bad}", err=True)
