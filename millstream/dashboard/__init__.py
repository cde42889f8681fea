"""The three dashboards: what is on them, as Grafana reads it, and as a picture."""

from collections.abc import Mapping

from millstream.dashboard.grafana import grafana_json
from millstream.dashboard.internals import INTERNALS
from millstream.dashboard.overview import OVERVIEW
from millstream.dashboard.panels import Board
from millstream.dashboard.quality import QUALITY

__all__ = ["BOARDS", "grafana_json"]

BOARDS: Mapping[str, Board] = {board.name: board for board in (OVERVIEW, QUALITY, INTERNALS)}
"""Every board by its name, the overview first."""
