"""One picture of a report: hit rate over the stream, and NDCG@10 as bars."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.errors import QualityError

__all__ = ["check_matplotlib", "draw"]

OURS = "default"
_OUR_COLOUR = "#D55E00"
_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
"""Source: Okabe and Ito, Color Universal Design, 2008; told apart with any common colour blindness."""
_FEWEST_FOR_FORTIETHS = 20_000
"""With fewer events evaluated tenths are drawn: less of the line is chance."""
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "relpos": (0.0, 0.5), "shrinkA": 1.0, "shrinkB": 0.0}
"""From the left edge of a name to the end of its line."""
_DASHES = ("-", "--", "-.", ":")
_LABEL_GAP = 0.034
"""Least distance of two names at the lines' ends, as a share of the height."""


def check_matplotlib() -> None:
    """Raise QualityError unless a picture can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise QualityError("--plot needs matplotlib: pip install matplotlib, or leave --plot out")


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture of ``report`` to ``path``, in the format of its suffix."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (lines, bars) = plt.subplots(1, 2, figsize=(15, 7.5), width_ratios=(1.9, 1.0), layout="constrained")
    figure.suptitle(_title(report), fontsize=13)
    styles = _styles(list(report["models"]))
    _draw_lines(lines, report, styles)
    _draw_bars(bars, report, styles)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _title(report: Mapping[str, Any]) -> str:
    stream, protocol = report["stream"], report["protocol"]
    kind = "all items" if protocol["repeat"] else "own items removed"
    how = "leave one out" if protocol["leave_one_out"] else f"{protocol['history']} histories"
    return (
        f"{stream['name']}: {stream['num_events']:,} events, {stream['num_items']:,} items, B = {protocol['batch']}, "
        f"{kind}, ties {protocol['ties']}, {how}"
    )


def _styles(names: list[str]) -> dict[str, dict[str, Any]]:
    peers = [name for name in names if name != OURS]
    styles: dict[str, dict[str, Any]] = {
        name: {
            "color": _COLOURS[place % len(_COLOURS)],
            "linestyle": _DASHES[place // len(_COLOURS) % len(_DASHES)],
            "linewidth": 1.2,
        }
        for place, name in enumerate(peers)
    }
    return {**styles, OURS: {"color": _OUR_COLOUR, "linestyle": "-", "linewidth": 3.5, "zorder": 5}}


def _draw_lines(axes: Any, report: Mapping[str, Any], styles: Mapping[str, dict[str, Any]]) -> None:
    ends = {}
    for name, figures in report["models"].items():
        rates = figures["hr_at_10_by_fortieth"]
        if figures["num_evaluated"] < _FEWEST_FOR_FORTIETHS:
            rates = [part["hr_at_10"] for part in figures["by_tenth"]]
        points = [(100 * (place + 0.5) / len(rates), rate) for place, rate in enumerate(rates) if rate is not None]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), **styles[name])
        ends[name] = points[-1][1]
    top = axes.get_ylim()[1]
    axes.set(xlim=(0, 100), ylim=(0, top), xlabel="% of the stream", ylabel="hit rate at 10")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    for name, height in _apart(ends, _LABEL_GAP * top, top).items():
        weight = "bold" if name == OURS else "normal"
        axes.annotate(
            name, (100, ends[name]), xytext=(103.0, height), color=styles[name]["color"], weight=weight,
            va="center", fontsize=10, annotation_clip=False,
            arrowprops={**_LEADER, "color": styles[name]["color"]},
        )  # fmt: skip


def _apart(ends: Mapping[str, float], gap: float, top: float) -> dict[str, float]:
    """Return where to put each name: from below, each at least ``gap`` higher, the whole below ``top`` if it fits."""
    places: dict[str, float] = {}
    lowest = float("-inf")
    for name, height in sorted(ends.items(), key=lambda pair: pair[1]):
        lowest = max(height, lowest + gap)
        places[name] = lowest
    above = max(0.0, lowest - top)
    return {name: place - above for name, place in places.items()}


def _draw_bars(axes: Any, report: Mapping[str, Any], styles: Mapping[str, dict[str, Any]]) -> None:
    values = {name: figures["ndcg_at_10"] or 0.0 for name, figures in report["models"].items()}
    names = sorted(values, key=lambda name: values[name])
    heights = [values[name] for name in names]
    axes.barh(names, heights, color=[styles[name]["color"] for name in names])
    for place, value in enumerate(heights):
        axes.text(value, place, f" {value:.4f}", va="center", fontsize=10)
    for label in axes.get_yticklabels():
        label.set_weight("bold" if label.get_text() == OURS else "normal")
    axes.set(xlabel="NDCG at 10", xlim=(0, 1.18 * max(heights, default=1.0) or 1.0))
    axes.spines[["top", "right"]].set_visible(False)
