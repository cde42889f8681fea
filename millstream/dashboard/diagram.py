"""One diagram: the lines of a panel over time, drawn by matplotlib."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from millstream.dashboard.panels import Unit
from millstream.dashboard.prometheus import Series, Span
from millstream.dashboard.units import readable

__all__ = ["Lines", "draw_diagram", "full_times", "legend_columns", "with_gaps", "worth_drawing"]

Lines = Sequence[tuple[str, Series]]
"""Names and points."""

_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F7F7F",
    "#000000",
    "#8C564B",
    "#BCBD22",
)
"""Source: Okabe and Ito, Color Universal Design, 2008, and two more."""
_TICK_SECONDS = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 604_800)
_MAX_TIMES = 6
_GREY = "#52606D"


def worth_drawing(lines: Lines) -> Lines:
    """Return the lines that are not 0 all the time, or one for all: among twenty zeros any other would be lost."""
    others = [line for line in lines if any(value != 0 for _, value in line[1].points)]
    return others or [("all 0", series) for _, series in lines[:1]]


def legend_columns(lines: Lines, width: int) -> int:
    """Return how many names fit beside each other below a panel of `width` columns of the grid."""
    longest = max((len(name) for name, _ in lines), default=0)
    return max(1, min(len(lines), int(8.5 * width / (longest + 6))))


def draw_diagram(axes: Any, defaults: Mapping[str, Any], lines: Lines, span: Span, columns: int) -> None:
    """Draw the lines into `axes`.

    Args:
        axes: of matplotlib.
        defaults: unit, limits and style, as in the panel's JSON.
        lines: what to draw.
        span: from when to when.
        columns: of the legend.
    """
    is_stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    (_stack if is_stacked else _plot)(axes, lines, span)
    _scale_values(axes, defaults, lines)
    _scale_times(axes, span)
    axes.tick_params(labelsize=8, colors=_GREY, length=2)
    axes.grid(color="#E4E7EB", linewidth=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not lines:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, color=_GREY)
        return
    below = {"loc": "upper left", "bbox_to_anchor": (-0.03, -0.12), "ncols": columns, "frameon": False}
    axes.legend(**below, fontsize=8, handlelength=1.0, columnspacing=1.0, borderpad=0, labelcolor=_GREY)


def _scale_values(axes: Any, defaults: Mapping[str, Any], lines: Lines) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator

    unit: Unit = defaults["unit"]
    largest = max((value for _, series in lines for _, value in series.points if not math.isnan(value)), default=0.0)
    if defaults["custom"]["scaleDistribution"]["type"] == "log" and largest > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max") or (None if largest else 1))
        is_binary = unit == "bytes" and largest > 0
        step = 2.0 ** math.ceil(math.log2(largest / 4)) if is_binary else 0.0
        axes.yaxis.set_major_locator(MultipleLocator(step) if is_binary else MaxNLocator(4, steps=(1, 2, 2.5, 5, 10)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value, unit)))


def _scale_times(axes: Any, span: Span) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter

    days = (span.end_seconds - span.start_seconds) / 86_400
    form = "%H:%M" if days <= 2 else "%d %b"
    axes.set_xlim(span.start_seconds, span.end_seconds)
    axes.xaxis.set_major_locator(FixedLocator(full_times(span)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda when, _: datetime.fromtimestamp(when).strftime(form)))


def full_times(span: Span) -> list[float]:
    """Return a few full minutes, hours or days of the span in local time, seconds since the epoch."""
    length = span.end_seconds - span.start_seconds
    step = next((step for step in _TICK_SECONDS if length / step <= _MAX_TIMES), _TICK_SECONDS[-1])
    offset = datetime.fromtimestamp(span.end_seconds).astimezone().utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    first = math.ceil((span.start_seconds + shift) / step) * step - shift
    return [first + number * step for number in range(int((span.end_seconds - first) // step) + 1)]


def _plot(axes: Any, lines: Lines, span: Span) -> None:
    for number, (name, series) in enumerate(lines):
        times, values = with_gaps(series, span)
        colour, dash = _COLOURS[number % len(_COLOURS)], "-" if number < len(_COLOURS) else "--"
        axes.plot(times, values, color=colour, linestyle=dash, linewidth=1.3, label=name)


def with_gaps(series: Series, span: Span) -> tuple[list[float], list[float]]:
    """Return times and values, with a NaN where points are missing: a line across a gap would be made up."""
    times: list[float] = []
    values: list[float] = []
    for when, value in series.points:
        if times and when - times[-1] > 1.5 * span.step_seconds:
            times.append(when)
            values.append(math.nan)
        times.append(when)
        values.append(value)
    return times, values


def _stack(axes: Any, lines: Lines, span: Span) -> None:
    if not lines:
        return
    times = sorted({when for _, series in lines for when, _ in series.points})
    rows = []
    for _, series in lines:
        known = dict(series.points)
        rows.append([0.0 if math.isnan(value := known.get(when, 0.0)) else value for when in times])
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(rows))]
    axes.stackplot(times, rows, labels=[name for name, _ in lines], colors=colours, alpha=0.75, linewidth=0)
