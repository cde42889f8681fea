"""The `millstream` command line."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from millstream.commands import (
    broker,
    config,
    dashboard,
    demo,
    dlq,
    doctor,
    inspect,
    produce,
    replay,
    run,
    serve,
    simulate,
    status,
    subscribe,
    topics,
    verify,
)
from millstream.terminal.output import printed
from stream.errors import EXIT_CODES, MillstreamError
from stream.wire.escaping import printable

__all__ = ["app", "main"]

_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="millstream",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millstream {version('millstream')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """A recommender that never stops learning: Kafka in, online learning with torch, fresh top-k lists out.

    Try it on this machine, broker included: millstream demo
    """


app.command()(demo.demo)
app.command()(run.run)
app.command()(serve.serve)
app.command()(broker.broker)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.command()(produce.produce)
app.command()(subscribe.subscribe)
app.command()(simulate.simulate)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(inspect.inspect)
app.command()(replay.replay)
app.command()(verify.verify)
app.command()(dashboard.dashboard)
app.command()(config.config)


def main() -> None:
    """Run the command; errors of ours become one message on standard error and their exit code."""
    try:
        with printed():
            app()
    except MillstreamError as error:
        told = "\n".join(map(printable, f"millstream: {error}".split("\n")))
        Console(stderr=True).print(Text(told, style="red"), soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
