"""A board in the form that Grafana reads."""

from typing import Any

from millstream.dashboard.panels import Board, Panel

__all__ = ["DATASOURCE_UID", "grafana_json"]

DATASOURCE_UID = "millstream-prometheus"
"""As in `deploy/grafana/provisioning`: a variable would not be resolved for provisioned dashboards."""


def grafana_json(board: Board) -> dict[str, Any]:
    """Return the board as Grafana reads it."""
    return {
        "uid": f"millstream-{board.name}",
        "title": board.title,
        "description": board.description,
        "tags": ["millstream"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "annotations": {"list": [_ALERTS]},
        "templating": {"list": []},
        "links": [{"type": "dashboards", "tags": ["millstream"], "title": "Millstream", "keepTime": True}],
        "panels": [_panel(number, panel, grid) for number, (panel, grid) in enumerate(board.placed(), 1)],
    }


_SOURCE = {"type": "prometheus", "uid": DATASOURCE_UID}
_ALERTS = {
    "name": "Alerts",
    "datasource": _SOURCE,
    "enable": True,
    "iconColor": "red",
    "expr": 'ALERTS{alertstate="firing", alertname=~"Millstream.*"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{severity}}",
}


def _panel(number: int, panel: Panel, grid: dict[str, int]) -> dict[str, Any]:
    is_stat = panel.kind == "stat"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": grid,
        "fieldConfig": {"defaults": _defaults(panel) | ({} if is_stat else _lines(panel)), "overrides": []},
        "options": _STAT_OPTIONS if is_stat else _SERIES_OPTIONS,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": is_stat,  # the number of a worker that is gone must not stand there as if it were of now
                "range": not is_stat,
            }
            for place, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for value, color in panel.steps]
    mode = "thresholds" if panel.kind == "stat" else "palette-classic"
    limits = {"min": panel.minimum, "max": panel.maximum}
    return {
        "unit": panel.unit,
        **{name: limit for name, limit in limits.items() if limit is not None},
        "color": {"mode": mode},
        "thresholds": {"mode": "absolute", "steps": steps},
    }


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "custom": {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.is_stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.is_stacked else "none"},
            "scaleDistribution": {"type": "log", "log": 10} if panel.is_logarithmic else {"type": "linear"},
        }
    }


_STAT_OPTIONS = {
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}
_SERIES_OPTIONS = {
    "legend": {"displayMode": "list", "placement": "bottom", "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
