"""Asking a worker's port: is it alive, is it ready, what are its metrics."""

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass

from millstream.diagnosis.scrape import Scrape
from stream.config.settings import MetricsSettings
from stream.wire.escaping import printable

__all__ = ["WorkerPort", "ask_worker", "is_ready", "scrape", "url_of"]

TIMEOUT_SECONDS = 5.0
MAX_LINE_CHARS = 300
MAX_ANSWER_BYTES = 16_777_216
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine's ports
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


@dataclass(frozen=True, slots=True)
class WorkerPort:
    """What a worker's port said; `problem` says why it said nothing."""

    url: str
    problem: str = ""
    is_alive: bool = False
    live: str = ""
    is_ready: bool = False
    ready: str = ""
    metrics: Scrape | None = None


def url_of(config: MetricsSettings) -> str:
    """Return where a worker with these settings is asked from its own machine."""
    host = _EVERYWHERE.get(config.host, config.host)
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{config.port}"


def ask_worker(url: str) -> WorkerPort:
    """Return what the worker at `url` says; never raises for what is at the other end."""
    try:
        live_status, live = _get(f"{url}/livez")
        ready_status, ready = _get(f"{url}/readyz")
        status, text = _get(f"{url}/metrics")
        metrics = Scrape(text) if status == 200 else None
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: no URL, no UTF-8, no metrics
        return WorkerPort(url, problem=printable(str(getattr(error, "reason", None) or error)))
    if metrics is None or not any(metrics.labels("millstream_build_info")):
        return WorkerPort(url, problem="something answers there that is no Millstream worker")
    return WorkerPort(url, "", live_status == 200, _line(live), ready_status == 200, _line(ready), metrics)


def scrape(url: str) -> Scrape | None:
    """Return the metrics of the worker at `url`, or None when it does not answer."""
    try:
        return Scrape(_get(f"{url}/metrics")[1])
    except (OSError, http.client.HTTPException):
        return None


def is_ready(url: str) -> bool:
    """Return whether the worker at `url` answers that it is ready."""
    try:
        return _get(f"{url}/readyz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _line(text: str) -> str:
    return printable(text.strip()[:MAX_LINE_CHARS])


def _get(url: str) -> tuple[int, str]:
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.status), answer.read(MAX_ANSWER_BYTES).decode("utf-8")
    except urllib.error.HTTPError as error:  # a probe that says no
        return error.code, error.read(MAX_ANSWER_BYTES).decode("utf-8")
