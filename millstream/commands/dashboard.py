"""`millstream dashboard`: the dashboards as a picture, and as files for Grafana."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from millstream.dashboard import BOARDS, grafana_json
from millstream.dashboard.picture import check_matplotlib, draw
from millstream.dashboard.prometheus import Span
from stream.errors import ConfigError

__all__ = ["dashboard"]


class Name(StrEnum):
    """A name of `BOARDS`."""

    OVERVIEW = "overview"
    QUALITY = "quality"
    INTERNALS = "internals"


def dashboard(
    png: Annotated[Path | None, typer.Option(help="Draw the dashboard into this PNG file.")] = None,
    name: Annotated[Name, typer.Option("--dashboard", help="Which one to draw.")] = Name.OVERVIEW,
    prometheus: Annotated[str, typer.Option(help="Address of the Prometheus to ask.")] = "http://localhost:9090",
    minutes: Annotated[float, typer.Option(help="How far back the diagrams go.", min=1, max=100_000)] = 15.0,
    json_folder: Annotated[
        Path | None, typer.Option("--json", help="Write all dashboards to this folder, as files for Grafana.")
    ] = None,
) -> None:
    """Draw a dashboard with the data of a Prometheus, or write all of them as files for Grafana."""
    if png is None and json_folder is None:
        raise ConfigError("expected --png FILE (a picture) or --json FOLDER (files for Grafana)")
    if json_folder is not None:
        _write_json(json_folder)
    if png is not None:
        check_matplotlib()
        now = time.time()
        draw(grafana_json(BOARDS[name.value]), prometheus, Span(now - 60 * minutes, now), png)
        typer.echo(f"written: {png}")


def _write_json(folder: Path) -> None:
    for board in BOARDS.values():
        path = folder / f"{board.name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(grafana_json(board), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--json: cannot write {path}: {error.strerror}") from error
        typer.echo(f"written: {path}")
