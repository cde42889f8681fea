"""`millstream broker`: a Kafka-compatible broker on this machine, for first steps."""

from pathlib import Path
from typing import Annotated

import typer

from millstream.local.embedded_broker import EmbeddedBroker
from producers.shutdown import stop_on_signals
from stream.errors import BrokerUnreachable, ConfigError

__all__ = ["broker"]

DEFAULT_PORT = 9092
DEFAULT_DATA_DIR = Path(".millstream/broker")
WATCH_SECONDS = 0.2


def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0: any free one.")] = DEFAULT_PORT,
    data_dir: Annotated[
        Path | None, typer.Option(help=f"Folder that keeps the data between runs. Default: {DEFAULT_DATA_DIR}")
    ] = None,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep nothing: the data go at the end.")] = False,
) -> None:
    """Run the embedded broker until Ctrl-C or SIGTERM.

    For trying things out and for tests, on this machine only: production uses Apache Kafka.

    Its limits: it loses its last seconds when it is killed, makes absent topics by itself with one partition, answers
    empty fetches at once, and suits no backlogs beyond 100 MB a partition (docs/decisions/0003-the-embedded-broker.md).
    """
    if ephemeral and data_dir is not None:
        raise ConfigError("--ephemeral and --data-dir: expected one of them, got both")
    folder = None if ephemeral else data_dir or DEFAULT_DATA_DIR
    with stop_on_signals() as flag, EmbeddedBroker(port, folder) as running:
        typer.echo(_welcome(running, folder))
        while not flag.is_set:
            flag.sleep(WATCH_SECONDS)
            if not running.is_running() and not flag.is_set:
                raise BrokerUnreachable(f"the embedded broker ended by itself; its log is in {folder or 'no folder'}")
    typer.echo("the broker has stopped" if folder is None else f"the broker has stopped; its data are in {folder}")


def _welcome(running: EmbeddedBroker, folder: Path | None) -> str:
    address = running.bootstrap_servers
    set_address = [] if running.port == DEFAULT_PORT else [f"export MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS={address}"]
    commands = [
        *set_address,
        "millstream topics create",
        "millstream run",
        "millstream produce online-retail --rate 200",
        "millstream subscribe --titles online-retail",
    ]
    kept = "nothing is kept" if folder is None else f"data in {folder}"
    lines = [f"Kafka-compatible broker on {address} ({kept}). Ctrl-C stops it.", "", "Next, in other terminals:"]
    return "\n".join(lines + [f"  {command}" for command in commands])
