"""`millstream dlq`: what could not be read, why, and sending it again once the cause is gone."""

import base64
import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer

from millstream.dead_letter_redrive import READY, UNREADABLE, Choice, Letters, Survey, send_again
from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from millstream.terminal.read_only import as_time, rows_of
from millstream.terminal.time_argument import since_ms
from stream.config.settings import Settings
from stream.errors import ConfigError, RefusedToStart
from stream.log.kafka import record_at
from stream.log.kafka.redrive import ReplayTransactions
from stream.wire.dead_letters import DeadCode, LetterId, StoredDeadLetter, read_letter
from stream.wire.escaping import printable, printable_bytes

__all__ = ["app"]

MAX_KEY_CHARS = 24
MAX_VALUE_CHARS = 4_000

app = typer.Typer(
    no_args_is_help=True, help="Dead letters: see the events that could not be read, and send them again."
)

CodeOption = Annotated[
    list[DeadCode] | None, typer.Option("--code", help="Only letters with this code. Repeatable.", show_default=False)
]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option("--partition", min=0, help="Only this partition of the dead-letter topic. Repeatable."),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Only letters since then: 90s, 15m, 2h, 7d, or 2026-03-01T12:00."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object.")]


# More than six parameters: typer reads the options of a command from its parameters.
@app.command("list")
def list_(
    code: CodeOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many, the newest; counts are of all.")] = 20,
    json: JsonOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Count the dead letters by code, and show the newest: id, time, code, where the event was, its key, the reason."""
    settings = settings_from(config, set_, bootstrap_servers)
    letters = Letters(settings, _choice([], code, partition, since))
    codes: Counter[str] = Counter()
    newest: list[tuple[int, LetterId, StoredDeadLetter]] = []
    for letter in letters:
        codes[letter.code] += 1
        heapq.heappush(newest, (letter.time_ms, letter.place, letter))
        if len(newest) > limit:
            heapq.heappop(newest)
    shown = [letter for _, _, letter in sorted(newest, key=lambda found: found[:2], reverse=True)]
    if json:
        report = {
            "topic": settings.topics.dead_letters,
            "letters": sum(codes.values()),
            "codes": dict(codes.most_common()),
            "foreign_records": letters.num_foreign,
            "newest": [_facts(letter) | {"sent_again": letter.place in letters.done} for letter in shown],
        }
        typer.echo(msgspec.json.encode(report).decode())
        return
    _print_list(settings, codes, shown, letters)


def _print_list(settings: Settings, codes: Counter[str], shown: list[StoredDeadLetter], letters: Letters) -> None:
    topic = settings.topics.dead_letters
    typer.echo(f"{topic}: {sum(codes.values()):,} letters" + (", the newest:" if shown else ""))
    head = ("id", "time", "code", "event", "key", "again", "reason")
    rows = [head, *(_row(letter, is_done=letter.place in letters.done) for letter in shown)]
    if shown:
        widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            typer.echo("  " + "  ".join([*cells, row[-1]]))
    if codes:
        typer.echo("by code:\n" + "\n".join(rows_of({printable(c): f"{count:,}" for c, count in codes.most_common()})))
    if letters.num_foreign:
        typer.echo(f"note: {letters.num_foreign:,} records are neither letter nor receipt: something else writes there")


def _row(letter: StoredDeadLetter, *, is_done: bool) -> tuple[str, ...]:
    event = letter.event
    key = "-" if event.key is None else printable_bytes(event.key, MAX_KEY_CHARS)
    again = "sent" if is_done else f"{letter.num_replays}x before" if letter.num_replays else "-"
    where = f"{printable(event.topic)}[{event.partition}]@{event.offset}"
    return letter.id, as_time(letter.time_ms), printable(letter.code), where, key, again, printable(letter.message)


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="As 'dlq list' shows it: partition@offset.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Only the event's value, byte for byte, to standard output.")
    ] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Show one letter: reason, headers, and the event's bytes, with everything that does not print written out."""
    settings = settings_from(config, set_, bootstrap_servers)
    letter = _letter(settings, _place(id))
    event = letter.event
    if raw:
        sys.stdout.buffer.write(event.value or b"")
        sys.stdout.buffer.flush()
    elif json:
        headers = [{"name": name, **_as_json(value)} for name, value in event.headers]
        whole = {"key": _as_json(event.key), "value": _as_json(event.value), "headers": headers}
        typer.echo(msgspec.json.encode(_facts(letter) | whole).decode())
    else:
        _print_letter(letter)


def _print_letter(letter: StoredDeadLetter) -> None:
    event = letter.event
    facts = {
        "code": printable(letter.code),
        "reason": printable(letter.message),
        "event": f"{printable(event.topic)}[{event.partition}]@{event.offset}, {_time(event.timestamp_ms)}",
        "letter": f"{letter.id}, {_time(letter.time_ms)}",
        "worker": f"{printable(letter.app)}, version {printable(letter.version)}",
        "sent again": f"{letter.num_replays} times before this letter",
        "key": "none" if event.key is None else printable_bytes(event.key, MAX_VALUE_CHARS),
    }
    if letter.truncated_from_bytes is not None:
        facts["kept"] = f"a part: the event's value had {letter.truncated_from_bytes:,} bytes"
    typer.echo("\n".join(rows_of(facts, "")))
    for name, value in event.headers:
        typer.echo(f"header {printable(name)}: {printable_bytes(value or b'', MAX_VALUE_CHARS)}")
    if event.value is None:
        typer.echo("value: none")
    else:
        typer.echo(f"value, {len(event.value):,} bytes:\n{printable_bytes(event.value, MAX_VALUE_CHARS)}")


# More than six parameters: typer reads the options of a command from its parameters.
@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As 'dlq list' shows them.")] = None,
    code: CodeOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    all_: Annotated[bool, typer.Option("--all", help="All letters that are there.")] = False,
    even_unreadable: Annotated[
        bool, typer.Option("--even-unreadable", help="Also those that would be dead letters again with these settings.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Send letters to the events topic again: key, value, headers and timestamp as they were, to the same partition.

    Events and receipts are one transaction, 500 letters each at most: interrupted at any moment, what was committed is
    sent and marked, and nothing else is; the same command goes on there. A letter with a receipt is not sent again.
    Give it the settings of the worker that reads them: what would be a dead letter again is left out.
    """
    if not (ids or code or partition or since or all_):
        raise ConfigError("dlq replay: expected ids, --code, --partition, --since or --all: which letters?")
    settings = settings_from(config, set_, bootstrap_servers)
    choice = _choice(ids or [], code, partition, since)
    survey = Survey.of(Letters(settings, choice), even_unreadable=even_unreadable)
    _print_survey(settings, survey, choice)
    if dry_run or not survey.num_ready:
        typer.echo("dry run: nothing was sent" if dry_run else "nothing to send")
        return
    if not yes:
        _ask(survey.num_ready, settings)
    with ReplayTransactions(settings) as transactions:
        # Judged once more: from here on nobody else can send, and the receipts of who did meanwhile are seen.
        survey = Survey.of(Letters(settings, choice), even_unreadable=even_unreadable)
        num_sent = send_again(Letters(settings, choice), survey, transactions, _say_progress(survey.num_ready))
    typer.echo(f"sent {num_sent:,} events to {settings.topics.events}; a worker reads them like any other")


def _ask(num_ready: int, settings: Settings) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("dlq replay: expected --yes (or --dry-run) where nobody can be asked")
    servers = settings.kafka.bootstrap_servers
    typer.confirm(f"Send {num_ready:,} events to {settings.topics.events} on {servers}?", abort=True)


def _say_progress(of: int) -> Callable[[int], None]:
    def say(num_sent: int) -> None:
        if of > num_sent:
            typer.echo(f"sent {num_sent:,} of {of:,}", err=True)

    return say


def _print_survey(settings: Settings, survey: Survey, choice: Choice) -> None:
    typer.echo(f"{settings.topics.dead_letters}: {len(survey.verdicts):,} letters are meant")
    by_verdict: dict[str, list[str]] = {}
    for (verdict, code), count in survey.codes.most_common():
        now = verdict.removeprefix(UNREADABLE) if verdict.startswith(UNREADABLE) else code
        told = f"{printable(code)} {count:,}" + (f" (now {now})" if now != code else "")
        by_verdict.setdefault(UNREADABLE if verdict.startswith(UNREADABLE) else verdict, []).append(told)
    for verdict, codes in sorted(by_verdict.items(), key=lambda found: found[0] != READY):
        typer.echo(f"  {verdict.removesuffix(': ')}: {', '.join(codes)}")
    for place in sorted(choice.ids - set(survey.verdicts)):
        typer.echo(f"  {place[0]}@{place[1]}: no such letter")


def _choice(ids: list[str], code: list[DeadCode] | None, partition: list[int] | None, since: str | None) -> Choice:
    return Choice(
        codes=frozenset(one.value for one in code or ()),
        partitions=frozenset(partition or ()),
        ids=frozenset(map(_place, ids)),
        since_ms=None if since is None else since_ms(since, time.time_ns() // 1_000_000),
    )


def _place(id: str) -> LetterId:
    partition, separator, offset = id.partition("@")
    if not (separator and partition.isdecimal() and offset.isdecimal()):
        raise ConfigError(f"{printable(id)}: expected partition@offset, as 'millstream dlq list' shows it")
    return int(partition), int(offset)


def _letter(settings: Settings, place: LetterId) -> StoredDeadLetter:
    record = record_at(settings.kafka, settings.topics.dead_letters, *place)
    letter = None if record is None else read_letter(record)
    if letter is None:
        there = "nothing" if record is None else "a record that is no letter"
        raise RefusedToStart(
            f"{settings.topics.dead_letters}[{place[0]}]@{place[1]}: expected a dead letter, found {there}"
        )
    return letter


def _facts(letter: StoredDeadLetter) -> dict[str, Any]:
    event = letter.event
    return {
        "id": letter.id,
        "time_ms": letter.time_ms,
        "code": letter.code,
        "reason": letter.message,
        "event": {
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "timestamp_ms": event.timestamp_ms,
        },
        "worker": letter.app,
        "version": letter.version,
        "truncated_from_bytes": letter.truncated_from_bytes,
        "num_replays": letter.num_replays,
    }


def _as_json(data: bytes | None) -> dict[str, str | None]:
    """Return the bytes as a JSON value: as text if they are UTF-8, in base64 if not."""
    try:
        return {"text": None if data is None else data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data or b"").decode("ascii")}


def _time(time_ms: int) -> str:
    return "no timestamp" if time_ms < 0 else as_time(time_ms)
