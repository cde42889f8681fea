"""What a scrape says: the counts of requests, and how view and follower are at that moment."""

from stream.http.api.list_stream import StreamClients
from stream.http.api.materialized_lists import ListView
from stream.http.api.topic_follower import Follower
from stream.telemetry.metrics import Metrics
from stream.versions import VERSIONS

__all__ = ["Exposition"]


class Exposition:
    """Brings the metrics up to date when they are asked for.

    Args:
        metrics: of `SERVE_METRICS`.
        view: where the lists are.
        follower: fills it.
        clients: those who follow.
    """

    def __init__(self, metrics: Metrics, view: ListView, follower: Follower, clients: StreamClients) -> None:
        self._metrics, self._view, self._follower, self._clients = metrics, view, follower, clients
        self._counted: dict[str, int] = {}
        labels = {"version": VERSIONS["millstream"], "kafka_python": VERSIONS["kafka-python"]}
        metrics.set("millstream_serve_build_info", 1, **labels)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        view, follower = self._view, self._follower
        self._metrics.set("millstream_serve_view_users", len(view))
        self._metrics.set("millstream_serve_view_bytes", view.num_bytes)
        self._metrics.set("millstream_serve_view_lag_records", follower.lag_records)
        self._metrics.set("millstream_serve_broker_silent_seconds", follower.silent_seconds())
        self._metrics.set("millstream_serve_stream_clients", len(self._clients))
        self._metrics.set("millstream_serve_ready", float(follower.ready().ok))
        self._count_to("millstream_serve_view_dropped_users_total", view.num_dropped)
        self._count_to("millstream_serve_unreadable_records_total", view.num_unreadable)
        self._count_to("millstream_serve_view_reads_total", follower.num_reads)
        return self._metrics.exposition()

    def _count_to(self, name: str, total: int) -> None:
        self._metrics.count(name, total - self._counted.get(name, 0))
        self._counted[name] = total
