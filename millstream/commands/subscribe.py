"""`millstream subscribe`: the published lists, as rows to read or JSON lines to pipe."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from producers.files.datasets import dataset, read_titles
from producers.list_subscription import ListSubscription, PublishedList
from producers.shutdown import StopFlag, stop_on_signals
from stream.wire.escaping import printable

__all__ = ["subscribe"]

POLL_SECONDS = 0.2
USER_WIDTH = 14


class Start(StrEnum):
    """Where to begin."""

    EARLIEST = "earliest"
    LATEST = "latest"


# More than six parameters: typer reads the options of a command from its parameters.
def subscribe(
    user: Annotated[str | None, typer.Option(help="Only this user: the newest list, then each new one.")] = None,
    start: Annotated[
        Start | None, typer.Option("--from", help="Default: latest; with --once and no --user: earliest.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    limit: Annotated[int | None, typer.Option(min=0, help="Leave after so many lists.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Leave at the end of what is there.")] = False,
    titles: Annotated[
        str | None, typer.Option(help="Show titles: a bundled data set, or a file with columns item and title.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Print recommendation lists as they are published; committed ones only."""
    settings = settings_from(config, set_, bootstrap_servers)
    known_titles = _titles(titles)
    begin = start or (Start.EARLIEST if once and user is None else Start.LATEST)
    show = _json_printer(known_titles) if json else _row_printer(known_titles)
    topic = settings.topics.recommendations
    with (
        stop_on_signals() as flag,
        ListSubscription(settings.kafka, topic, start=begin.value, user=user) as subscription,
    ):
        num_printed = _print_all(islice(_lists(subscription, flag, once=once), limit), show)
        _report_unreadable(subscription, topic)
    if once and user is not None and not num_printed and limit != 0:
        typer.echo(f"no list for {printable(user)} in {topic}", err=True)


def _lists(subscription: ListSubscription, flag: StopFlag, *, once: bool) -> Iterator[PublishedList]:
    while not flag.is_set and not _reader_has_left():
        found = subscription.poll(POLL_SECONDS)
        yield from found
        if once and not found and subscription.caught_up():
            return


def _reader_has_left() -> bool:
    """Return True when nobody can read our output any more (`| head` has ended), without having to write to it."""
    with contextlib.suppress(OSError, ValueError):  # what has no descriptor cannot be left
        watched = select.poll()
        watched.register(sys.stdout.fileno(), 0)
        return any(happened & (select.POLLERR | select.POLLHUP) for _, happened in watched.poll(0))
    return False


def _print_all(lists: Iterator[PublishedList], show: Callable[[PublishedList], None]) -> int:
    """Print until the lists end or the reader of our output leaves (`| head`), which is no error; return how many."""
    num_printed = 0
    try:
        for published in lists:
            num_printed += 1
            show(published)
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return num_printed


def _json_printer(titles: Mapping[str, str]) -> Callable[[PublishedList], None]:
    def show(published: PublishedList) -> None:
        print(_json_line(published, titles), flush=True)

    return show


def _json_line(published: PublishedList, titles: Mapping[str, str]) -> str:
    if published.recommendation is None:
        return msgspec.json.encode({"user": published.user, "erased": True}).decode()
    value: dict[str, Any] = msgspec.json.decode(published.record.value or b"{}")
    for ranked in value["items"]:
        if ranked["item"] in titles:
            ranked["title"] = titles[ranked["item"]]
    return msgspec.json.encode(value).decode()


def _row_printer(titles: Mapping[str, str]) -> Callable[[PublishedList], None]:
    """Return a function that prints one row per list, cut at the width of a terminal and whole in a pipe."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(f"[bold]{'time':8}  {'user':{USER_WIDTH}}  items, best first")

    def show(published: PublishedList) -> None:
        row = _row(published, titles)
        if console.is_terminal:
            console.print(row, no_wrap=True, overflow="ellipsis")
        else:
            print(row.plain, flush=True)

    return show


def _row(published: PublishedList, titles: Mapping[str, str]) -> Text:
    recommendation = published.recommendation
    at_ms = published.record.timestamp_ms if recommendation is None else recommendation.generated_at
    time = datetime.fromtimestamp(at_ms / 1000).strftime("%H:%M:%S")
    row = Text.assemble((time, "dim"), "  ", (f"{printable(published.user):{USER_WIDTH}}", "bold cyan"), "  ")
    if recommendation is None:
        return row.append("erased", "red")
    for place, ranked in enumerate(recommendation.items):
        row.append(" · " if place else "").append(printable(titles.get(ranked.item, ranked.item)))
        row.append(f" {ranked.score:.2f}", "dim")
    return row


def _titles(source: str | None) -> dict[str, str]:
    """Return the titles of a data set, or those in a file of items."""
    if source is None:
        return {}
    found = dataset(source)
    if found.items_path:
        return found.titles()
    return {item: title for path in found.events_paths for item, title in read_titles(path).items()}


def _report_unreadable(subscription: ListSubscription, topic: str) -> None:
    if subscription.num_unreadable:
        typer.echo(f"skipped {subscription.num_unreadable:,} records of {topic} that are no lists", err=True)
