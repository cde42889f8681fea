"""`millstream produce`: a file of events goes to Kafka."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from millstream.terminal.reading_options import (
    ColumnsOption,
    DelimiterOption,
    EachOption,
    FormatOption,
    MapOption,
    MapTypeOption,
    PresetOption,
    RelativeTimeOption,
    SkipBadOption,
    TsFormatOption,
    TsUnitOption,
    TypeOption,
    read_options,
)
from producers.event_encoding import OutgoingRecord, encode_record
from producers.event_sender import EventSender
from producers.files.datasets import DATASETS, dataset
from producers.files.event_file import EventFile, ReadOptions
from producers.files.event_files import EventFiles
from producers.files.formats.table import format_of
from producers.files.opening import expecting
from producers.files.standard_input import stoppable, until_stopped
from producers.pacing import Pacer
from producers.shutdown import StopFlag, stop_on_signals
from stream.config.settings import EventSettings
from stream.errors import ConfigError, MillstreamError
from stream.wire.escaping import printable
from stream.wire.schema import Event

__all__ = ["parse_rate", "produce", "report_rows", "send_records"]

REFRESH_SECONDS = 0.1
STANDARD_INPUT = "-"
LOOK_EVERY = 1_000
"""After so many events it is looked whether another file with other columns is read."""


# More than six parameters: typer reads the options of a command from its parameters.
def produce(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|-...",
            help="Parquet, CSV, TSV or JSONL files, also compressed; folders of them; or a bundled one: online-retail, "
            "otto-mini; - reads standard input.",
        ),
    ],
    rate: Annotated[str | None, typer.Option(help="Events a second, or max. Default: max.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Replay at so many times the recorded pace, by the events' ts.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Stop after so many events.")] = None,
    preset: PresetOption = None,
    map_: MapOption = None,
    map_type: MapTypeOption = None,
    type_: TypeOption = None,
    format_: FormatOption = None,
    columns: ColumnsOption = None,
    delimiter: DelimiterOption = None,
    each: EachOption = None,
    ts_unit: TsUnitOption = None,
    ts_format: TsFormatOption = None,
    relative_time: RelativeTimeOption = False,
    skip_bad: SkipBadOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Send files of events to Kafka, keyed by user and in file order.

    Columns: user, item, ts, type, value, session, id and context.NAME; only user and item are needed (and --type when
    there is no column type). Ctrl-C waits for what was sent and says how much that was.
    """
    settings = settings_from(config, set_, bootstrap_servers)
    options = read_options(
        preset,
        map_,
        map_type,
        columns,
        default_type=type_,
        format=format_,
        delimiter=delimiter,
        each=each,
        ts_unit=ts_unit,
        ts_format=ts_format,
        relative_time=relative_time,
        skip_bad=skip_bad,
    )
    with stop_on_signals() as flag:
        events = EventFiles([part for file in files for part in _opened(file, options, settings.events, flag)])
        total = events.num_rows if limit is None else min(limit, events.num_rows or limit)
        pacer = Pacer(rate=parse_rate(rate), speed=speed, sleep=flag.sleep)
        records = _records(islice(until_stopped(events), limit), events, settings.events)
        with EventSender(settings.kafka, settings.topics.events, limits=settings.events) as sender:
            try:
                send_records(sender, records, pacer, flag, total)
            finally:
                report_rows(events)


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
    except BaseException:
        # What is on its way arrives though the rest does not: it is waited for, so that the count is true.
        with suppress(MillstreamError):
            sender.flush()
        raise
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


def report_rows(events: EventFiles) -> None:
    """Print what became of the rows: so many read, so many events, skipped and left out."""
    if events.num_bad:
        typer.echo(
            f"skipped {events.num_bad:,} rows that are no events; the first: {printable(str(events.first_bad))}",
            err=True,
        )
    if events.num_left_out:
        typer.echo(f"left out {events.num_left_out:,} rows of types that --map-type leaves out", err=True)
    num_refused = events.num_read - events.num_events - events.num_bad - events.num_left_out
    typer.echo(
        f"read {events.num_read:,} rows: {events.num_events:,} events, {events.num_bad:,} skipped, "
        f"{events.num_left_out:,} left out{'; stopped at the last one' if num_refused else ''}",
        err=True,
    )
    if events.num_repeated_ids:
        typer.echo(
            f"warning: {events.num_repeated_ids:,} events have an id that an earlier one has, and the worker skips "
            "such repetitions. Where the column id is no unique name of an event, say --map id= (no column)",
            err=True,
        )


def _opened(file: str, options: ReadOptions, limits: EventSettings, flag: StopFlag) -> Sequence[EventFile]:
    if file == STANDARD_INPUT:
        return [EventFile(stoppable(sys.stdin.fileno(), flag), options, limits=limits)]
    path = Path(file)
    if file not in DATASETS and (path.is_fifo() or path.is_char_device()):
        with expecting("a file that can be read", file):
            descriptor = os.open(path, os.O_RDONLY)
        format = options.format or format_of(path) or ("csv" if options.delimiter or options.names else "jsonl")
        named = replace(options, format=format)
        return [EventFile(stoppable(descriptor, flag), named, limits=limits, name=file)]
    return dataset(file, options.format).events(options, limits=limits).parts


def _records(events: Iterable[Event], files: EventFiles, limits: EventSettings) -> Iterator[OutgoingRecord]:
    """Yield the records of events, and say which column serves which field once the first row was read."""
    said = ""
    for number, event in enumerate(events):
        if number % LOOK_EVERY == 0 and (described := files.described()) != said:
            said = described
            typer.echo(f"columns: {printable(said)}", err=True)
        yield encode_record(event, limits)


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
