"""Reading the worker's own metrics, as Prometheus would."""

import urllib.error
import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape", "is_ready", "scrape"]

TIMEOUT_SECONDS = 5.0


class Scrape:
    """All samples of one scrape.

    Args:
        text: Prometheus' text format.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name with these labels; 0 when there is none."""
        return sum(value for found, value in self._samples.get(name, ()) if labels.items() <= found.items())

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        """Yield the labels of every sample of this name."""
        return (labels for labels, _ in self._samples.get(name, ()))


def scrape(port: int) -> Scrape | None:
    """Return the worker's metrics, or None when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS) as answer:
            return Scrape(answer.read().decode("utf-8"))
    except (OSError, urllib.error.URLError):
        return None


def is_ready(port: int) -> bool:
    """Return True when /readyz answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
