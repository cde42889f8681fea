"""`millstream simulate`: a made-up shop produces events, to Kafka or to a file."""

import os
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from millstream.commands.produce import parse_rate, send_records
from millstream.terminal.options import BootstrapOption, ConfigOption, SetOption, settings_from
from producers import EventSender
from producers.event_encoding import OutgoingRecord
from producers.files.opening import expecting
from producers.pacing import Pacer
from producers.shutdown import stop_on_signals
from producers.simulator.shop import ShopConfig
from producers.simulator.simulate import FIXED_START_MS, SimulationConfig, simulated_records
from stream.config.settings import Settings
from stream.errors import ConfigError

__all__ = ["simulate"]

DEFAULT_RATE = 50.0


# More than six parameters: typer reads the options of a command from its parameters.
def simulate(
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 1_000,
    items: Annotated[int, typer.Option(min=1, help="Items.")] = 500,
    rate: Annotated[str, typer.Option(help="Mean events a second, or max to send without waiting.")] = "50",
    events: Annotated[int | None, typer.Option(min=0, help="Stop after so many records. Default: never.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed is the same shop.")] = 1,
    bursts: Annotated[bool, typer.Option(help="Ten seconds of four times the rate every two minutes.")] = True,
    bad_ratio: Annotated[float, typer.Option(min=0, max=1, help="Share of broken events, for the dead letters.")] = 0.0,
    duplicate_ratio: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")] = 0.0,
    late_ratio: Annotated[float, typer.Option(min=0, max=1, help="Share of events up to ten minutes late.")] = 0.0,
    out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write JSON lines to a file, or to standard output.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    bootstrap_servers: BootstrapOption = None,
) -> None:
    """Produce the events of a made-up shop whose users have tastes that move.

    To Kafka the events carry the time of now. With --out they start on 1 January 2026, and the same options give the
    same bytes.
    """
    events_per_second = parse_rate(rate)
    simulation = SimulationConfig(
        shop=ShopConfig(num_users=users, num_items=items, seed=seed),
        rate=DEFAULT_RATE if events_per_second is None else events_per_second,
        start_ms=FIXED_START_MS if out else int(time.time() * 1000),
        burst_every_seconds=120.0 if bursts else 0.0,
        bad_ratio=bad_ratio,
        duplicate_ratio=duplicate_ratio,
        late_ratio=late_ratio,
    )
    records = islice(simulated_records(simulation), events)
    if out is None:
        # Paced by event time, so that a burst is a burst.
        speed = None if events_per_second is None else 1.0
        _send(settings_from(config, set_, bootstrap_servers), records, speed, events)
    elif out != "-" and events is None:
        raise ConfigError(f"--out {out}: say how many with --events N, or the file would grow for ever")
    else:
        _write(records, out)


def _send(settings: Settings, records: Iterable[OutgoingRecord], speed: float | None, total: int | None) -> None:
    with (
        stop_on_signals() as flag,
        EventSender(settings.kafka, settings.topics.events, limits=settings.events) as sender,
    ):
        send_records(sender, records, Pacer(speed=speed, sleep=flag.sleep), flag, total)


def _write(records: Iterable[OutgoingRecord], out: str) -> None:
    """Write the values line by line. A reader that leaves early (`| head`) is no error."""
    with (
        stop_on_signals() as flag,
        expecting("a file that can be written", f"--out {out}"),
        nullcontext(sys.stdout.buffer) if out == "-" else Path(out).open("wb") as file,
    ):
        try:
            for record in records:
                if flag.is_set:
                    break
                file.write(record.value + b"\n")
            file.flush()
        except BrokenPipeError:
            # The interpreter flushes standard output once more at its end, and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
