"""What the commands that only read share: opening the past, showing progress, and a few ways to say numbers."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.wire.escaping import printable

if TYPE_CHECKING:  # they load torch, which only a command that needs it may do
    from stream.durability.checkpoints import CheckpointStore
    from stream.learning.worker_state import WorkerState
    from stream.log.kafka import KafkaHistory
    from stream.log.kafka.published_lists import KafkaPublished

__all__ = ["OpenPast", "as_time", "open_past", "open_store", "rows_of", "say_remarks", "showing_progress"]

LINE_SECONDS = 5.0
"""How often progress is a line where it is not read on a terminal."""


@dataclass(frozen=True, slots=True)
class OpenPast:
    """Everything that is looked at."""

    history: "KafkaHistory"
    published: "KafkaPublished"
    store: "CheckpointStore | None"
    make_state: "Callable[[], WorkerState]"


@contextmanager
def open_past(settings: Settings) -> Iterator[OpenPast]:
    """Open the log, what was published, and the checkpoints, if there are any.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: a topic does not exist.
    """
    from stream.learning.worker_state import WorkerState
    from stream.log.kafka import KafkaHistory
    from stream.log.kafka.published_lists import KafkaPublished

    logging.getLogger("millstream").setLevel(logging.ERROR)  # alarms of the past are not alarms
    try:
        store = open_store(settings)
    except RefusedToStart as error:
        typer.echo(f"note: {printable(str(error))}", err=True)
        store = None
    history = KafkaHistory(settings)
    try:
        published = KafkaPublished(settings)
        try:
            yield OpenPast(history, published, store, lambda: WorkerState(settings, history.partitions))
        finally:
            published.close()
    finally:
        history.close()


def open_store(settings: Settings) -> "CheckpointStore | None":
    """Return the checkpoints, to be read only; None: they are switched off.

    Raises:
        RefusedToStart: the folder is not there.
    """
    from stream.durability.checkpoints import CheckpointStore

    config = settings.checkpoints
    return CheckpointStore(config.url, config.keep, read_only=True) if config.url else None


@contextmanager
def showing_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Lend a function that shows how far one is: (reached, of, what); on standard error."""
    if not sys.stderr.isatty():
        yield _LinesOfProgress()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda reached, of, what: progress.update(task, description=what, completed=reached, total=of)


class _LinesOfProgress:
    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, reached: int, of: int, what: str) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            typer.echo(f"{what}: epoch {reached:,} of {of:,}", err=True)


def rows_of(facts: Mapping[str, object], indent: str = "  ") -> list[str]:
    """Return one line per fact, values below one another, with what does not print written out."""
    width = max(map(len, facts), default=0)
    return [indent + printable(f"{name:{width}}  {value}") for name, value in facts.items()]


def as_time(time_ms: int) -> str:
    """Return a time for people, in UTC."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # a record may have any number for its timestamp
        return f"{time_ms} ms"


def say_remarks(remarks: list[str]) -> None:
    """Print what a reader has to know besides the result, once each."""
    for remark in dict.fromkeys(remarks):
        typer.echo(f"note: {printable(remark)}")
