"""Asking Prometheus, over its HTTP interface."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from stream.errors import ConfigError

__all__ = ["Series", "Span", "query_range"]

TIMEOUT_SECONDS = 30.0
SCRAPE_SECONDS = 5.0
"""As in `deploy/prometheus/prometheus.yml`; Grafana is told the same."""
MAX_POINTS = 240


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, in seconds since the Unix epoch."""

    start_seconds: float
    end_seconds: float

    @property
    def step_seconds(self) -> float:
        """Distance of two points."""
        return max(SCRAPE_SECONDS, (self.end_seconds - self.start_seconds) / MAX_POINTS)

    def concrete(self, expr: str) -> str:
        """Put durations where Grafana would put them."""
        rate_seconds = max(4 * SCRAPE_SECONDS, self.step_seconds + SCRAPE_SECONDS)
        durations = {"$__rate_interval": rate_seconds, "$__range": self.end_seconds - self.start_seconds}
        for name, seconds in durations.items():
            expr = expr.replace(name, f"{max(1, round(seconds))}s")
        return expr


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its labels, and its points (seconds since the epoch, value), ascending."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    def name(self, legend: str) -> str:
        """Return what the line is called: `{{label}}` of `legend` is replaced, as in Grafana."""
        return re.sub(r"{{\s*(\w+)\s*}}", lambda match: self.labels.get(match.group(1), ""), legend)


def query_range(url: str, expr: str, span: Span) -> list[Series]:
    """Return the series of an expression over a span.

    Raises:
        ConfigError: there is no Prometheus at `url`, or it does not accept the expression.
    """
    parameters = {
        "query": span.concrete(expr),
        "start": f"{span.start_seconds:.3f}",
        "end": f"{span.end_seconds:.3f}",
        "step": f"{span.step_seconds:.3f}",
    }
    answer = _get(f"{url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(parameters)}", url)
    return [
        Series(found["metric"], [(float(when), float(value)) for when, value in found["values"]])
        for found in answer["data"]["result"]
    ]


def _get(address: str, url: str) -> dict[str, Any]:
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--prometheus: expected http://host:port, got {url}")
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
            read: dict[str, Any] = json.load(answer)
            assert read["status"] == "success", read
            return read
    except urllib.error.HTTPError as error:
        raise ConfigError(
            f"--prometheus: {url} answers {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--prometheus: expected a Prometheus at {url}, got {getattr(error, 'reason', error)}; "
            "start one with deploy/prometheus/prometheus.yml, or name its address"
        ) from None
