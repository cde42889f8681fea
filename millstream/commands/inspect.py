"""`millstream inspect`: what checkpoints there are, and what one of them holds."""

import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.filesize import decimal

from millstream.terminal.options import ConfigOption, DeviceOption, SetOption, settings_from
from millstream.terminal.read_only import as_time, open_store, rows_of
from millstream.terminal.user_report import user_lines
from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.wire.escaping import printable

if TYPE_CHECKING:  # they load torch, which only a command that needs it may do
    from online_models import State
    from stream.durability.checkpoints import CheckpointStore, Manifest
    from stream.learning.worker_state import WorkerState

__all__ = ["inspect"]

SMALL_BYTES = 1_000
"""A table below this is counted only; --json has all."""


# More than six parameters: typer reads the options of a command from its parameters.
def inspect(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="Its epoch, its name, or the path of its folder. Without it: all of checkpoints.url."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="What it knows of this user, and his list; of the newest one if none is named."
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="For the list: read each one whole, or believe its manifest."),
    ] = True,
    config: ConfigOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """List the checkpoints, or show what one holds: its moment in the stream, sizes, tables, quality, one user.

    It only reads, needs no broker, and may run beside a worker. A damaged checkpoint ends it with exit code 4.
    """
    settings = settings_from(config, set_, None, device)
    if checkpoint is None and user is None:
        _list(settings, is_verified=verify, as_json=json)
        return
    store, name = _find(checkpoint, settings)
    shown, manifest, saved = _show(store, name)
    shown |= _contents(manifest, saved, settings, user)
    if json:
        typer.echo(msgspec.json.encode(shown).decode())
    else:
        _print(shown, with_tables=user is None)


# All of them.


def _list(settings: Settings, *, is_verified: bool, as_json: bool) -> None:
    store = open_store(settings)
    if store is None:
        raise RefusedToStart("checkpoints.url is empty: checkpoints are switched off")
    rows = [_row(store, name, is_verified=is_verified) for name in store.names()]
    there = set(store.names())  # a running worker keeps only the newest, so some may be gone by now
    rows = [row for row in rows if row["name"] in there]
    if as_json:
        typer.echo(msgspec.json.encode({"url": store.shown, "checkpoints": rows}).decode())
    else:
        _print_rows(store.shown, rows)
    if any(row["state"] == "damaged" for row in rows):
        raise RefusedToStart(
            "a checkpoint is damaged. A start passes it over and takes the one before; look at the disk, then remove it"
        )


def _row(store: "CheckpointStore", name: str, *, is_verified: bool) -> dict[str, Any]:
    from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign

    row: dict[str, Any] = {"name": name, "epoch": int(name.partition("-")[2])}
    try:
        manifest = store.manifest(name)
        moment = manifest.moment
        row |= {
            "created_at_ms": manifest.created_at_ms,
            "bytes": sum(facts.num_bytes for facts in manifest.files.values()),
            "app": moment.app,
            "topic": moment.topic,
            "origin": moment.origin,
            "settings_since": moment.settings_since,
        }
        if is_verified:
            store.load(name)
    except CheckpointDamaged as error:
        return row | {"state": "damaged", "reason": str(error)}
    except CheckpointForeign as error:
        return row | {"state": "foreign", "reason": str(error)}
    return row | {"state": "whole" if is_verified else "not read"}


def _print_rows(shown: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        typer.echo(f"no checkpoint in {shown}")
        return
    typer.echo(f"{len(rows)} checkpoints in {shown}, the newest first")
    head = ("epoch", "age", "size", "state", "model since epoch", "worker", "topic")
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    for line in cells:
        shown_line = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo("  " + printable(shown_line))
    for row in rows:
        if "reason" in row:
            typer.echo(f"{row['name']}: {printable(row['reason'])}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "bytes" not in row:
        return str(row["epoch"]), "?", "?", row["state"], "?", "?", "?"
    age = _age(row["created_at_ms"])
    return str(row["epoch"]), age, decimal(row["bytes"]), row["state"], str(row["origin"]), row["app"], row["topic"]


def _age(time_ms: int) -> str:
    seconds = max(0, time.time_ns() // 1_000_000 - time_ms) // 1000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


# One of them.


def _find(checkpoint: str | None, settings: Settings) -> "tuple[CheckpointStore, str]":
    from stream.durability.checkpoints import CheckpointStore, is_name, name_of

    if checkpoint is not None and not checkpoint.isdecimal() and not is_name(checkpoint):
        folder = Path(checkpoint)
        if not is_name(folder.name) or not folder.is_dir():
            raise RefusedToStart(
                f"{checkpoint}: expected an epoch, or the folder of a checkpoint, called as epoch-000000000042 is"
            )
        return CheckpointStore(str(folder.parent), 1, read_only=True), folder.name
    store = open_store(settings)
    names = [] if store is None else store.names()
    wanted = checkpoint or (names[0] if names else "any")
    name = name_of(int(wanted)) if wanted.isdecimal() else wanted
    if store is None or name not in names:
        there = ", ".join(str(int(one.partition("-")[2])) for one in names) or "none"
        where = settings.checkpoints.url or "checkpoints.url, which is empty"
        raise RefusedToStart(f"checkpoint {wanted}: not in {where}; epochs there: {there}")
    return store, name


def _show(store: "CheckpointStore", name: str) -> "tuple[dict[str, Any], Manifest, State]":
    """Return the manifest's facts, and the state, whose size, checksum and digest were found right."""
    manifest, saved = store.load(name)
    shown: dict[str, Any] = {
        "name": name,
        "where": store.shown,
        "created_at_ms": manifest.created_at_ms,
        "bytes": sum(facts.num_bytes for facts in manifest.files.values()),
        "digest": manifest.digest,
        "moment": manifest.moment,
    }
    return shown, manifest, saved


def _contents(manifest: "Manifest", saved: "State", settings: Settings, user: str | None) -> dict[str, Any]:
    """Return the tables, and what the model says of itself once it is loaded, with the settings it was made with."""
    from stream.durability.point_in_time import load_into, settings_of
    from stream.learning.user_view import view_user
    from stream.learning.worker_state import WorkerState

    made_with = settings_of(manifest.moment, settings)
    state = WorkerState(made_with, range(len(manifest.moment.positions)))
    load_into(state, manifest.moment, saved, made_with, f"of epoch {manifest.moment.epoch}")
    contents: dict[str, Any] = {
        "tables": _tables(saved),
        "holds": _holds(state),
        "fusion": state.learner.fusion_weights(),
    }
    contents["quality"] = {
        model: {name: (float(sliding), float(overall)) for name, (sliding, overall) in values.items()}
        for model, values in state.quality.read().items()
    }
    if user is not None:
        contents["user"] = view_user(state, saved, user, made_with.model.k)
    return contents


def _tables(saved: "State") -> list[dict[str, Any]]:
    from online_models import flatten

    return [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "bytes": array.nbytes}
        for name, array in flatten(saved).items()
    ]


def _holds(state: "WorkerState") -> dict[str, int]:
    encoder = state.encoder
    return {
        "users": len(encoder.users),
        "items": len(encoder.items),
        "deduplication ids": len(encoder.deduplicator),
        "users evicted": encoder.users.num_evictions,
        "items evicted": encoder.items.num_evictions,
        "users expired": encoder.users.num_expiries,
        "items expired": encoder.items.num_expiries,
        "item candidates": len(encoder.admission),
    }


def _owner(table: dict[str, Any]) -> str:
    parts = table["name"].split("/")[:-1]
    return "/".join(parts[: 3 if parts[:2] == ["learner", "scorers"] else 2]) or "worker"


def _print(shown: dict[str, Any], *, with_tables: bool) -> None:
    moment = shown["moment"]
    typer.echo(f"checkpoint {shown['name']} in {shown['where']}: whole")
    facts = {
        "after epoch": f"{moment.epoch:,} of worker {moment.app} on topic {moment.topic}",
        "positions": ", ".join(f"[{partition}] {offset:,}" for partition, offset in moment.positions.items()),
        "model since": f"epoch {moment.origin:,}, with these settings since epoch {moment.settings_since:,} "
        f"({moment.config_hash})",
        "written": f"{as_time(shown['created_at_ms'])} ({_age(shown['created_at_ms'])} ago), {decimal(shown['bytes'])}",
        "made with": ", ".join(f"{name} {value}" for name, value in moment.environment.items()),
        "digest": f"{shown['digest']} (computed again, equal)",
        "chain": moment.chain,
        "learned": ", ".join(f"{name} {count:,}" for name, count in moment.totals.items()),
        "holds": ", ".join(f"{name} {count:,}" for name, count in shown["holds"].items()),
        "fusion": ", ".join(f"{name} {weight:+.3f}" for name, weight in shown["fusion"].items()),
    }
    typer.echo("\n".join(rows_of(facts)))
    for model, values in shown["quality"].items():
        told = ", ".join(f"{name} {sliding:.4f} ({overall:.4f})" for name, (sliding, overall) in values.items())
        typer.echo(f"  quality of {model}, of the window (and of all): {told}")
    if with_tables:
        _print_tables(shown["tables"])
    if "user" in shown:
        typer.echo("\n".join(user_lines(shown["user"], "the list that it would make now")))


def _print_tables(tables: list[dict[str, Any]]) -> None:
    for owner, group in groupby(sorted(tables, key=_owner), key=_owner):
        held = list(group)
        shown = [table for table in held if table["bytes"] >= SMALL_BYTES]
        fewer = f", with {len(held) - len(shown)} below {decimal(SMALL_BYTES)}" if len(shown) < len(held) else ""
        typer.echo(f"  {owner}: {decimal(sum(table['bytes'] for table in held))} in {len(held)} tables{fewer}")
        width = max((len(table["name"]) for table in shown), default=0) - len(owner)
        for table in shown:
            name = table["name"].removeprefix(f"{owner}/")
            shape = " x ".join(map(str, table["shape"]))
            typer.echo(f"    {name:{width}}  {table['dtype']:8}  {shape:16}  {decimal(table['bytes'])}")
