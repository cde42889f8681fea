"""`millstream replay`: the model of any journalled moment, and why a user saw the list of that moment."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from millstream.terminal.options import BootstrapOption, ConfigOption, DeviceOption, SetOption, settings_from
from millstream.terminal.read_only import OpenPast, as_time, open_past, rows_of, say_remarks, showing_progress
from millstream.terminal.user_report import user_lines
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.wire.schema import Recommendation

if TYPE_CHECKING:
    from online_models import State
    from stream.durability.point_in_time import Rebuilt

__all__ = ["replay"]

KEEP_ALL = 1_000_000


# More than six parameters: typer reads the options of a command from its parameters.
def replay(
    until: Annotated[
        int, typer.Option(metavar="EPOCH", min=1, help="The moment: after this epoch, as named in every list.")
    ],
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Why this user saw his list: what the model knew, and the list.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the state there, as a folder with one checkpoint.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
    device: DeviceOption = None,
) -> None:
    """Rebuild the model as it was after any batch in the journal, bit for bit; show it, one user's list, or save it.

    From the newest usable checkpoint at or before that epoch, or from the beginning, the batches are learned again.
    It only reads, so it may run beside a worker; give it that worker's settings.
    """
    settings = settings_from(config, set_, bootstrap_servers, device)
    _refuse_own_checkpoints(out, settings)
    from online_models import digest
    from stream.durability.point_in_time import Past, moment_of  # torch is loaded only by the command that needs it

    with open_past(settings) as opened:
        with showing_progress() as progress:
            past = Past(
                settings,
                opened.history,
                opened.store,
                opened.make_state,
                lambda reached, of: progress(reached, of, "learning again"),
            )
            rebuilt = past.rebuild(past.entry(until), with_lists=user is not None)
        saved = rebuilt.state.state()
        shown: dict[str, Any] = {
            "epoch": until,
            "generated_at_ms": rebuilt.entry.generated_at_ms,
            "start": str(rebuilt.start),
            "batches": rebuilt.num_batches,
            "records": rebuilt.num_records,
            "digest": digest(saved),
            "positions": rebuilt.entry.positions,
            "totals": dict(rebuilt.state.totals),
        }
        if user is not None:
            shown |= _user(user, rebuilt, saved, settings, opened)
    if out is not None:
        from stream.durability.checkpoints import CheckpointStore, name_of

        store = CheckpointStore(str(out), KEEP_ALL)
        manifest = store.write(moment_of(rebuilt, settings), saved, time.time_ns() // 1_000_000)
        shown["written"] = f"{store.shown}/{name_of(manifest.moment.epoch)}"
    shown["remarks"] = list(dict.fromkeys([*past.remarks, *rebuilt.remarks]))
    if json:
        typer.echo(msgspec.json.encode(shown).decode())
    else:
        _print(shown)


def _refuse_own_checkpoints(out: Path | None, settings: Settings) -> None:
    url = settings.checkpoints.url.removeprefix("file://").removeprefix("local://")
    if out is not None and url and out.expanduser().resolve() == Path(url).expanduser().resolve():
        raise ConfigError(f"--out {out}: expected a folder of its own, got the worker's (checkpoints.url)")


def _user(user: str, rebuilt: "Rebuilt", saved: "State", settings: Settings, opened: OpenPast) -> dict[str, Any]:
    """Return what the model knew of a user, the list, and whether it is what was published."""
    from stream.learning.user_view import view_user

    view = view_user(rebuilt.state, saved, user, settings.model.k)
    key, epoch = user.encode("utf-8"), rebuilt.entry.epoch
    made = next((record.value for record in rebuilt.lists or () if record.key == key), None)
    there: dict[int, bytes] = {}
    for record in opened.published.lists():
        if record.key == key and record.value is not None:
            there[msgspec.json.decode(record.value, type=Recommendation).epoch] = record.value
    if made is not None:
        view = msgspec.structs.replace(view, items=msgspec.json.decode(made, type=Recommendation).items)
    return {"user": view, "published": _published(epoch, made, there, is_unknown=rebuilt.lists is None)}


def _published(epoch: int, made: bytes | None, there: dict[int, bytes], *, is_unknown: bool) -> str:
    earlier = max((one for one in there if one <= epoch), default=None)
    if made is not None and epoch in there:
        same = "the same, byte for byte" if made == there[epoch] else "ANOTHER ONE: run millstream verify"
        return f"in epoch {epoch}; what is in the topic is {same}"
    if made is not None:
        return f"in epoch {epoch}; that record is not in the topic any more (a newer list of this user replaced it)"
    if is_unknown and epoch in there:
        return f"in epoch {epoch}; it could not be made again, as the records before the checkpoint are gone"
    if earlier is not None:
        return f"not in epoch {epoch}, as no event of the user was in it; what was seen then is of epoch {earlier}"
    return f"not in epoch {epoch}, as no event of the user was in it; the list that was seen then is not in the topic"


def _print(shown: dict[str, Any]) -> None:
    typer.echo(
        f"the model after epoch {shown['epoch']:,}, whose lists were made at {as_time(shown['generated_at_ms'])}"
    )
    facts = {
        "from": f"{shown['start']}, and {shown['batches']:,} batches of {shown['records']:,} records learned again",
        "digest": shown["digest"],
        "positions": ", ".join(f"[{partition}] {offset:,}" for partition, offset in shown["positions"].items()),
        "totals": ", ".join(f"{name} {count:,}" for name, count in shown["totals"].items()),
    }
    if "written" in shown:
        facts["written"] = shown["written"]
    typer.echo("\n".join(rows_of(facts)))
    if "user" in shown:
        typer.echo("\n".join(user_lines(shown["user"], f"the list after epoch {shown['epoch']:,}")))
        typer.echo(f"  published  {shown['published']}")
    say_remarks(shown["remarks"])
