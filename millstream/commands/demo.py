"""`millstream demo`: everything on this machine, broker included, on a real purchase stream."""

import io
import json
import re
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from millstream.commands.produce import parse_rate, report_rows
from millstream.diagnosis.scrape import Scrape
from millstream.local.demo.report import make_report
from millstream.local.demo.session import DemoSession
from millstream.local.demo.traffic import ListWatcher, Replay
from millstream.local.demo.view import DemoView
from millstream.terminal.options import ConfigOption, DeviceOption, SetOption, settings_from
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
from producers import Pacer, dataset
from producers.files.event_files import EventFiles
from producers.files.opening import expecting
from producers.files.read_options import ReadOptions
from stream.config.settings import Settings
from stream.errors import ConfigError

__all__ = ["demo"]

LINE_SECONDS = 2.0
"""How often a line is printed when there is no live view."""
PICTURE_COLUMNS = 118


def demo(
    events: Annotated[int, typer.Option(help="How many events to send; 0: all of the data set.", min=0)] = 30_000,
    rate: Annotated[str, typer.Option(help="Events a second, or max.")] = "300",
    speed: Annotated[
        float | None, typer.Option(help="Replay recorded time this many times as fast, instead of --rate.")
    ] = None,
    dataset_name: Annotated[
        str, typer.Option("--dataset", help="online-retail, otto-mini, or a file or folder as produce reads them.")
    ] = "online-retail",
    no_view: Annotated[bool, typer.Option("--no-view", help="Plain lines instead of the live view.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what was measured to this JSON file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last view as an SVG picture.")] = None,
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
    device: DeviceOption = None,
) -> None:
    """Start a broker, a worker and a producer here, and watch lists being learned. Nothing is left behind.

    The bundled stream is real: a year of purchases in a British gift shop (UCI Online Retail, CC BY 4.0).
    """
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
    overrides = [*(set_ or []), *([f"model.device={device}"] if device else [])]
    settings = settings_from(config, overrides)
    pacer = Pacer(rate=parse_rate(rate)) if speed is None else Pacer(speed=speed)
    source = _opened(dataset_name, options, settings)
    _check_writable("--report", report)
    _check_writable("--picture", picture)
    console = Console(stderr=True)
    with DemoSession(settings, config, overrides) as session:
        session.start(lambda step: console.print(f"[dim]{step}…[/]"))
        _say_where(session, console)
        view = DemoView(source.titles, events or None, settings.model.k)
        has_view = sys.stdout.isatty() and not no_view
        show = _LiveView(view) if has_view else _PlainLines(console, settings.model.k)
        measured, last = _play(session, source, pacer, events or None, view, show)
        if picture is not None:
            _save_picture(last, picture)
    report_rows(source.events)
    _finish(measured, report, console)


class _Source(NamedTuple):
    """What is replayed."""

    events: EventFiles
    titles: dict[str, str]


def _opened(name: str, options: ReadOptions, settings: Settings) -> _Source:
    """Open a data set before anything starts; what its first row is at fault for is said at once.

    Raises:
        ConfigError: it cannot be read as the options say, or holds no event.
    """
    found = dataset(name, options.format)
    chosen = found.events(options, limits=settings.events)
    first = next(iter(chosen), None)
    if first is None:
        raise ConfigError(f"--dataset {name}: expected events, found none")
    return _Source(chosen, found.titles())


def _say_where(session: DemoSession, console: Console) -> None:
    console.print(
        f"the page: {session.url}/\n"
        f"[dim]broker {session.settings.kafka.bootstrap_servers}, metrics {session.url}/metrics; "
        "Ctrl-C ends[/]"
    )


def _play(
    session: DemoSession,
    source: _Source,
    pacer: Pacer,
    limit: int | None,
    view: DemoView,
    show: "_PlainLines | _LiveView",
) -> tuple[dict[str, Any], RenderableType]:
    """Replay the events; return what was measured, and the last view."""
    start = time.monotonic()

    def tick(replay: Replay, watcher: ListWatcher, scrape: Scrape) -> None:
        view.observe(scrape)
        show.tick(replay, watcher, scrape)

    with show:
        replay, watcher = session.replay(source.events, source.titles, pacer, limit, tick)
    assert session.newest_scrape is not None
    measured = make_report(replay, watcher, session.newest_scrape, session.last_commit_seconds(start))
    return measured, view.render(replay, watcher, session.newest_scrape)


def _check_writable(flag: str, file: Path | None) -> None:
    """Refuse a file that could not be written at the end of the run."""
    if file is None:
        return
    if not file.parent.is_dir():
        raise ConfigError(f"{flag} {file}: the folder {file.parent} does not exist")
    with _writing(flag, file):
        is_new = not file.exists()
        if is_new or file.is_file() or file.is_dir():  # a pipe may be opened once only
            file.open("ab").close()
        if is_new:
            file.unlink()


def _writing(flag: str, file: Path) -> AbstractContextManager[None]:
    return expecting("a file that can be written", f"{flag} {file}")


def _save_picture(view: RenderableType, file: Path) -> None:
    canvas = Console(record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True)
    canvas.print(view)
    svg = re.sub(r"@font-face \{.*?\}\n", "", canvas.export_svg(title="millstream demo"), flags=re.DOTALL)
    with _writing("--picture", file):
        file.write_text(svg, encoding="utf-8")  # without the fonts that a reader's browser would fetch from elsewhere


def _finish(measured: dict[str, Any], report: Path | None, console: Console) -> None:
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
        with _writing("--report", report):
            report.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
        say(f"report: {report}")


class _PlainLines(AbstractContextManager["_PlainLines"]):
    def __init__(self, console: Console, k: int) -> None:
        self._console, self._k = console, k
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
            f"lists {watcher.num_lists:,}  HR@{self._k} {hit['model']:.3f} (popularity {hit['popularity']:.3f})",
            highlight=False,
        )

    def __exit__(self, *_: object) -> None:
        return None


class _LiveView(AbstractContextManager["_LiveView"]):
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
