"""`millstream demo`: everything on this machine, broker included, on a real purchase stream."""

import contextlib
import io
import json
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from millstream.demo.report import make_report
from millstream.demo.scrape import Scrape
from millstream.demo.session import DemoSession
from millstream.demo.traffic import ListWatcher, Replay
from millstream.demo.view import DemoView
from millstream.options import ConfigOption, DeviceOption, SetOption, settings_from
from producers import Pacer, dataset
from stream.errors import ConfigError

__all__ = ["demo"]

LINE_SECONDS = 2.0
"""How often a line is printed when there is no live view."""
PICTURE_COLUMNS = 118


def demo(
    events: Annotated[int, typer.Option(help="How many events to send; 0: all of the data set.", min=0)] = 30_000,
    rate: Annotated[str, typer.Option(help="Events a second, or 'max' for as fast as it goes.")] = "300",
    speed: Annotated[
        float | None, typer.Option(help="Replay recorded time this many times as fast, instead of --rate.")
    ] = None,
    dataset_name: Annotated[
        str, typer.Option("--dataset", help="online-retail, otto-mini, or a parquet, CSV or JSONL file.")
    ] = "online-retail",
    no_view: Annotated[bool, typer.Option("--no-view", help="Plain lines instead of the live view.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what was measured to this JSON file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view as an SVG picture.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Start a broker, a worker and a producer here, and watch lists being learned. Nothing is left behind.

    The bundled stream is real: a year of purchases in a British gift shop (UCI Online Retail, CC BY 4.0).
    """
    overrides = [*(set_ or []), *([f"model.device={device}"] if device else [])]
    settings = settings_from(config, overrides)
    pacer, limit = _pacer(rate, speed), events or None
    _check_writable("--report", report)
    _check_writable("--picture", picture)
    data = dataset(dataset_name)
    console = Console(stderr=True)
    with DemoSession(settings, config, overrides) as session:
        session.start(lambda step: console.print(f"[dim]{step}…[/]"))
        console.print(
            f"[dim]broker {session.settings.kafka.bootstrap_servers}, metrics http://127.0.0.1:{session.port}/metrics; "
            "Ctrl-C ends[/]"
        )
        start = time.monotonic()
        view = DemoView(data.titles(), limit, settings.model.k)
        show = _PlainLines(console) if no_view or not sys.stdout.isatty() else _LiveView(view)

        def tick(replay: Replay, watcher: ListWatcher, scrape: Scrape) -> None:
            view.observe(scrape)
            show.tick(replay, watcher, scrape)

        with show:
            replay, watcher = session.replay(data, pacer, limit, tick)
        assert session.newest_scrape is not None
        measured = make_report(replay, watcher, session.newest_scrape, session.last_commit_seconds(start))
        if picture is not None:
            _save_picture(view.render(replay, watcher, session.newest_scrape), picture)
    _finish(measured, report, console)


def _pacer(rate: str, speed: float | None) -> Pacer:
    if speed is not None:
        return Pacer(speed=speed)
    if rate == "max":
        return Pacer()
    try:
        return Pacer(rate=float(rate))
    except ValueError:
        raise ConfigError(f"--rate: expected a number of events a second or 'max', got {rate}") from None


def _check_writable(flag: str, file: Path | None) -> None:
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"{flag} {file}: the folder {file.parent} does not exist")


def _save_picture(view: RenderableType, file: Path) -> None:
    canvas = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
    canvas.print(view)
    svg = re.sub(r"@font-face \{.*?\}\n", "", canvas.export_svg(title="millstream demo"), flags=re.DOTALL)
    file.write_text(svg, encoding="utf-8")  # without the fonts that a reader's browser would fetch from elsewhere


def _finish(measured: dict[str, Any], report: Path | None, console: Console) -> None:
    if report is not None:
        report.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    quality = measured["quality"]
    fresh = measured["freshness_seconds"]
    say(
        f"{measured['events_in']:,} events sent, {measured['events_learned']:,} learned, "
        f"{measured['dead_letters']:,} dead letters, {measured['lists_published']:,} lists published "
        f"in {measured['wall_seconds']:.1f} s ({measured['events_per_second']:,.0f} events/s)"
    )
    if fresh["p50"] is not None:
        say(f"freshness (event produced to list visible): p50 {fresh['p50']:.3f} s, p99 {fresh['p99']:.3f} s")
    for model, values in quality.items():
        say(f"  {model:<12} " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
    if report is not None:
        say(f"report: {report}")


class _PlainLines(contextlib.AbstractContextManager["_PlainLines"]):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = 0.0

    def tick(self, replay: Replay, watcher: ListWatcher, scrape: Scrape) -> None:
        if time.monotonic() - self._printed < LINE_SECONDS:
            return
        self._printed = time.monotonic()
        hit = {
            model: scrape.value("millstream_hit_ratio", model=model, window="overall")
            for model in ("model", "popularity")
        }
        self._console.print(
            f"sent {replay.num_sent:,}  learned {scrape.value('millstream_events_total', outcome='learned'):,.0f}  "
            f"lists {watcher.num_lists:,}  HR@k {hit['model']:.3f} (popularity {hit['popularity']:.3f})",
            highlight=False,
        )

    def __exit__(self, *_: object) -> None:
        return None


class _LiveView(contextlib.AbstractContextManager["_LiveView"]):
    def __init__(self, view: DemoView) -> None:
        self._view = view
        self._live = Live(console=Console(), refresh_per_second=4)

    def tick(self, replay: Replay, watcher: ListWatcher, scrape: Scrape) -> None:
        self._live.update(self._view.render(replay, watcher, scrape))

    def __enter__(self) -> "_LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
