"""What a panel and a board are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["GRID_COLUMNS", "Board", "Panel", "Query", "Unit", "stat"]

GRID_COLUMNS = 24
STAT_HEIGHT = 4
SERIES_HEIGHT = 8

Unit = Literal["s", "percentunit", "none", "short", "eps", "ops", "bytes", "bool_yes_no"]
"""Those of Grafana that we use: seconds, shares, plain numbers, large numbers, events or operations a second, bytes."""
Steps = tuple[tuple[float | None, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its series are called: `{{label}}` is replaced."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One number (`stat`) or one diagram (`timeseries`)."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    kind: Literal["stat", "timeseries"] = "timeseries"
    width: int = 12
    """Of the 24 columns."""
    minimum: float | None = 0
    maximum: float | None = None
    is_stacked: bool = False
    is_logarithmic: bool = False
    steps: Steps = ((None, "text"),)
    """Colours of a number: the first from below, each next one from its value on."""

    @property
    def height(self) -> int:
        """Rows of the grid."""
        return STAT_HEIGHT if self.kind == "stat" else SERIES_HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One screen: rows of panels, each row of one height and at most 24 columns wide."""

    name: str
    title: str
    description: str
    rows: tuple[tuple[Panel, ...], ...]

    def placed(self) -> Iterator[tuple[Panel, dict[str, int]]]:
        """Yield every panel and its place on the grid."""
        y = 0
        for row in self.rows:
            x = 0
            for panel in row:
                yield panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}
                x += panel.width
            y += max(panel.height for panel in row)


def stat(
    title: str,
    description: str,
    unit: Unit,
    expr: str,
    *,
    minimum: float | None = 0,
    maximum: float | None = None,
    steps: Steps = ((None, "text"),),
) -> Panel:
    """Return a panel with one number, an eighth of the screen wide."""
    return Panel(
        kind="stat",
        title=title,
        description=description,
        unit=unit,
        queries=(Query(expr, title.lower()),),
        width=GRID_COLUMNS // 8,
        minimum=minimum,
        maximum=maximum,
        steps=steps,
    )
