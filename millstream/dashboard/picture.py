"""A dashboard as a picture: the panels of Grafana's JSON, with the data of a Prometheus, drawn by matplotlib."""

import importlib.util
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from millstream.dashboard.diagram import Lines, draw_diagram, legend_columns, worth_drawing
from millstream.dashboard.panels import GRID_COLUMNS
from millstream.dashboard.prometheus import Span, query_range
from millstream.dashboard.units import readable
from stream.errors import ConfigError

__all__ = ["check_matplotlib", "draw"]

COLUMN_INCHES = 0.62
ROW_INCHES = 0.36
DPI = 80
_STEP_COLOURS = {"text": "#1F2933", "green": "#1A7F37", "orange": "#B35900", "red": "#C62828"}

PanelJson = Mapping[str, Any]
Box = tuple[float, float, float, float]


def check_matplotlib() -> None:
    """Raise ConfigError unless a picture can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--png needs matplotlib: pip install 'millstream[pictures]'")


def draw(board: Mapping[str, Any], url: str, span: Span, path: Path) -> None:
    """Write a picture of the board.

    Args:
        board: in Grafana's JSON.
        url: of the Prometheus.
        span: what the diagrams show; the numbers are those of its end.
        path: a PNG file.

    Raises:
        ConfigError: Prometheus does not answer, or the file cannot be written.
    """
    found = [(panel, _lines_of(panel, url, span)) for panel in board["panels"]]
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    num_rows = 1 + max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = plt.figure(figsize=(GRID_COLUMNS * COLUMN_INCHES, num_rows * ROW_INCHES), facecolor="#F4F5F5")
    until = datetime.fromtimestamp(span.end_seconds).astimezone()
    when = f"{readable(span.end_seconds - span.start_seconds, 's')} until {until:%Y-%m-%d %H:%M %Z}"
    figure.text(0.008, 1 - 0.7 / num_rows, board["title"], fontsize=14, weight="bold", color="#1F2933")
    figure.text(0.992, 1 - 0.7 / num_rows, when, fontsize=10, ha="right", color="#52606D")
    for panel, lines in found:
        _draw_panel(figure, panel, lines, span, num_rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, format="png")
    except OSError as error:
        raise ConfigError(f"--png: cannot write {path}: {error.strerror}") from error
    finally:
        plt.close(figure)


def _lines_of(panel: PanelJson, url: str, span: Span) -> Lines:
    return [
        (series.name(target["legendFormat"]), series)
        for target in panel["targets"]
        for series in query_range(url, target["expr"], span)
    ]


def _draw_panel(figure: Any, panel: PanelJson, lines: Lines, span: Span, num_rows: int) -> None:
    grid = panel["gridPos"]
    left, bottom = grid["x"] / GRID_COLUMNS, 1 - (grid["y"] + grid["h"] + 1) / num_rows
    box = _inside((left, bottom, grid["w"] / GRID_COLUMNS, grid["h"] / num_rows), num_rows, 0.12, 0.16, 0.12, 0.16)
    card = figure.add_axes(box, facecolor="white")
    card.set(xticks=[], yticks=[])
    for spine in card.spines.values():
        spine.set_color("#D9DEE4")
    card.text(
        0.2 / grid["w"], 1 - 0.5 / grid["h"], panel["title"], fontsize=9, weight="bold", color="#3E4C59", va="center"
    )
    if panel["type"] == "stat":
        _draw_stat(card, panel, lines, span)
        return
    shown = worth_drawing(lines)
    columns = legend_columns(shown, grid["w"])
    legend_rows = 0.55 * math.ceil(len(shown) / columns)
    axes = figure.add_axes(_inside(box, num_rows, 1.35, 1.0 + legend_rows, 0.25, 1.0))
    draw_diagram(axes, panel["fieldConfig"]["defaults"], shown, span, columns)


def _inside(box: Box, num_rows: int, left: float, bottom: float, right: float, top: float) -> Box:
    """Return `box` (left, bottom, width, height; shares of the picture) less margins, in units of the grid."""
    x, y, width, height = box
    return (
        x + left / GRID_COLUMNS,
        y + bottom / num_rows,
        width - (left + right) / GRID_COLUMNS,
        height - (bottom + top) / num_rows,
    )


def _draw_stat(card: Any, panel: PanelJson, lines: Lines, span: Span) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    oldest_seconds = span.end_seconds - 1.5 * span.step_seconds  # of now, or it is not shown
    values = [value for _, series in lines for when, value in series.points[-1:] if when > oldest_seconds]
    text = readable(values[0], defaults["unit"]) if values else "no data"
    steps = defaults["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or (values and values[0] >= step["value"])]
    card.text(0.5, 0.4, text, fontsize=19, ha="center", va="center", color=_STEP_COLOURS[reached[-1]["color"]])
