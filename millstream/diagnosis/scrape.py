"""The worker's own metrics, read as Prometheus would."""

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape"]


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
