"""Every metric, declared together. The one home of the Prometheus client; docs/metrics.md lists them.

Histograms are filled once per batch from arrays, not by one call per event.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.wire.dead_letters import DeadCode
from stream.wire.schema import EVENT_TYPES

__all__ = [
    "CONTENT_TYPE",
    "METRICS",
    "MODELS",
    "SERVE_METRICS",
    "SERVE_ROUTES",
    "STAGES",
    "ArrayHistogram",
    "Metrics",
    "MetricSpec",
]

disable_created_metrics()  # type: ignore[no-untyped-call]  # a gauge beside every counter that says when this process made it: noise in every scrape

READER_SECONDS = 60.0
"""Prometheus reads more often than this."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("poll", "decode", "evaluate", "learn", "rank", "publish", "commit")
MODELS = ("model", "transitions", "popularity")
WINDOWS = ("sliding", "overall")
OUTCOMES = ("learned", "ignored", "candidate", "duplicate")
TABLES = ("users", "items")
GPU_MEMORY_KINDS = ("allocated", "reserved", "total")
REASONS = ("full", "expired")
EFFORTS = ("low", "normal", "high")


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric: kind, help line, labels with their fixed values (None: known only at start)."""

    kind: str
    help: str
    labels: Mapping[str, Sequence[str] | None]
    buckets: tuple[float, ...] = ()


_MODEL = {"model": MODELS}
_QUALITY = {"model": MODELS, "window": WINDOWS}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BACKFILL_SECONDS = (300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, 31_536_000.0)
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)

METRICS: dict[str, MetricSpec] = {
    "millstream_events_total": MetricSpec(
        "counter",
        "Readable events by type and outcome: learned, ignored (weight 0), candidate (its item has no row yet) or "
        "duplicate (the same event under the same id again).",
        {"type": EVENT_TYPES, "outcome": OUTCOMES},
    ),
    "millstream_late_events_total": MetricSpec(
        "counter", "Events older than their user's newest: learned, but never the newest of his history.", {}
    ),
    "millstream_key_mismatch_total": MetricSpec(
        "counter",
        "Events whose record has no key, or another than their user id: they lose their order; fix the producer.",
        {"reason": ("missing", "other")},
    ),
    "millstream_reused_ids_total": MetricSpec(
        "counter", "Events whose id another event has had: learned; fix the producer, whose ids are no names.", {}
    ),
    "millstream_split_users_total": MetricSpec(
        "counter", "Users who came in a second partition, and have two histories from then on; fix the producer.", {}
    ),
    "millstream_dead_letters_total": MetricSpec(
        "counter",
        "Records that could not be read, by reason; they are in the dead-letter topic.",
        {"code": tuple(code.value for code in DeadCode)},
    ),
    "millstream_lists_published_total": MetricSpec("counter", "Lists written to the recommendations topic.", {}),
    "millstream_transactions_total": MetricSpec(
        "counter",
        "Kafka transactions by outcome. aborted: in doubt, rolled back (exit code 6); fenced: another worker has "
        "taken over (exit code 5). Both end the worker.",
        {"outcome": ("committed", "aborted", "fenced")},
    ),
    "millstream_evictions_total": MetricSpec(
        "counter",
        "Users and items that lost their row: to newer ones (full: raise the capacity if this grows fast), or because "
        "they were not seen for long (expired).",
        {"table": TABLES, "reason": REASONS},
    ),
    "millstream_effort_level": MetricSpec(
        "gauge", "1 for what the model spent on the newest batch, 0 for the other levels.", {"level": EFFORTS}
    ),
    "millstream_effort_batches_total": MetricSpec(
        "counter",
        "Batches by what the model spent on them: many low ones mean that the worker is too slow.",
        {"level": EFFORTS},
    ),
    "millstream_drift_alarms_total": MetricSpec(
        "counter", "Times that ADWIN found the model's loss to have risen: people changed, or the data did.", {}
    ),
    "millstream_batch_records": MetricSpec("histogram", "Records per committed micro-batch.", {}, _BATCH),
    "millstream_stage_seconds": MetricSpec(
        "histogram",
        "Time of each stage of a micro-batch; poll includes waiting for records.",
        {"stage": STAGES},
        _STAGE_SECONDS,
    ),
    "millstream_event_to_publish_seconds": MetricSpec(
        "histogram", "From an event's record timestamp to the commit that made its list visible.", {}, _SECONDS
    ),
    "millstream_event_time_to_publish_seconds": MetricSpec(
        "histogram",
        "From the time in the event to the commit that made its list visible. A backfill fills the buckets of days.",
        {},
        _SECONDS[3:] + _BACKFILL_SECONDS,
    ),
    "millstream_consumer_lag_records": MetricSpec(
        "gauge", "Committed records not read yet. Growing means that the worker is too slow.", {"partition": None}
    ),
    "millstream_held_back_records": MetricSpec(
        "gauge",
        "Offsets behind an upstream transaction that has not ended: in the log, and not to be read before it does.",
        {"partition": None},
    ),
    "millstream_held_back_seconds": MetricSpec(
        "gauge", "For how long the oldest such transaction has kept records from being read.", {}
    ),
    "millstream_users": MetricSpec("gauge", "Users with a state.", {}),
    "millstream_items": MetricSpec("gauge", "Items with a row.", {}),
    "millstream_item_candidates": MetricSpec(
        "gauge", "Items that are counted until they have enough events for a row (model.item_admission_events).", {}
    ),
    "millstream_event_time_seconds": MetricSpec(
        "gauge", "What time it is in the stream, by the median of the newest events; expiry goes by it.", {}
    ),
    "millstream_table_rows": MetricSpec("gauge", "Used rows of each table of the model.", {"table": None}),
    "millstream_table_capacity_rows": MetricSpec(
        "gauge", "Allocated rows of each table of the model.", {"table": None}
    ),
    "millstream_dedup_ids": MetricSpec("gauge", "Event ids in the de-duplication windows.", {}),
    "millstream_model_loss_nats": MetricSpec(
        "gauge", "Mean log-loss of the model over the window, before learning.", {}
    ),
    "millstream_hit_ratio": MetricSpec(
        "gauge", "Share of events whose item was among the first k of the list made without them.", _QUALITY
    ),
    "millstream_ndcg_ratio": MetricSpec("gauge", "Mean NDCG@k of the event's item, before learning it.", _QUALITY),
    "millstream_mrr_ratio": MetricSpec(
        "gauge", "Mean reciprocal rank @k of the event's item, before learning.", _QUALITY
    ),
    "millstream_coverage_ratio": MetricSpec("gauge", "Share of known items that were in at least one list.", _QUALITY),
    "millstream_evaluated_events_total": MetricSpec(
        "counter", "Events that each model was asked for before they were learned.", _MODEL
    ),
    "millstream_hits_total": MetricSpec(
        "counter", "Evaluated events whose item was among the first k; divide by the evaluated events.", _MODEL
    ),
    "millstream_ndcg_total": MetricSpec(
        "counter", "Sum of NDCG@k over evaluated events; divide by the evaluated events.", _MODEL
    ),
    "millstream_reciprocal_rank_total": MetricSpec(
        "counter", "Sum of reciprocal ranks @k over evaluated events; divide by the evaluated events.", _MODEL
    ),
    "millstream_loss_nats_total": MetricSpec(
        "counter", "Sum of the model's log-loss over evaluated events; divide by those of the model.", {}
    ),
    "millstream_listed_items_total": MetricSpec(
        "counter", "Places of the lists that evaluated events were asked of.", _MODEL
    ),
    "millstream_self_information_nats_total": MetricSpec(
        "counter",
        "Sum of -log of each listed item's share of recent events; divide by the listed items: novelty.",
        _MODEL,
    ),
    "millstream_list_overlap_ratio": MetricSpec(
        "histogram",
        "Share of a published list that was in the same user's list before it; 1: the same items. First lists and "
        "those whose predecessor is not remembered are left out.",
        {},
        _SHARES,
    ),
    "millstream_fusion_weight": MetricSpec(
        "gauge", "Mean learned weight of each channel of the model: which one carries.", {"channel": None}
    ),
    "millstream_epoch": MetricSpec("gauge", "Number of the newest committed micro-batch.", {}),
    "millstream_last_commit_timestamp_seconds": MetricSpec("gauge", "When the newest micro-batch was committed.", {}),
    "millstream_last_learned_timestamp_seconds": MetricSpec(
        "gauge",
        "When the newest micro-batch that taught the model something was committed.",
        {},
    ),
    "millstream_ready": MetricSpec("gauge", "1 when /readyz answers 200.", {}),
    "millstream_checkpoints_total": MetricSpec(
        "counter",
        "Checkpoints by outcome: written, failed (disk, permission: the stream goes on) or skipped (still writing).",
        {"outcome": ("written", "failed", "skipped")},
    ),
    "millstream_checkpoint_interval_seconds": MetricSpec(
        "gauge", "How often a checkpoint is to be written; 0: checkpoints are switched off.", {}
    ),
    "millstream_checkpoint_epoch": MetricSpec("gauge", "Epoch of the newest checkpoint.", {}),
    "millstream_checkpoint_bytes": MetricSpec("gauge", "Size of the newest checkpoint.", {}),
    "millstream_checkpoint_seconds": MetricSpec("gauge", "How long the newest checkpoint took to write.", {}),
    "millstream_checkpoint_copy_seconds": MetricSpec(
        "gauge", "How long the stream stood still for the copy that the newest checkpoint was written from.", {}
    ),
    "millstream_checkpoint_last_success_timestamp_seconds": MetricSpec(
        "gauge",
        "When the newest checkpoint was written; a restart re-learns what came after it.",
        {},
    ),
    "millstream_checkpoints_damaged": MetricSpec(
        "gauge", "Checkpoints that the last start passed over because they are damaged; 0 is normal.", {}
    ),
    "millstream_journal_foreign_records": MetricSpec(
        "gauge", "Records of the journal topic that are none of ours, as far as the last start looked back.", {}
    ),
    "millstream_http_connections": MetricSpec("gauge", "Open connections to the worker's port, idle ones too.", {}),
    "millstream_recovered_batches": MetricSpec("gauge", "Batches that the last start re-learned.", {}),
    "millstream_recovery_seconds": MetricSpec("gauge", "How long the last start took to rebuild the state.", {}),
    "millstream_gpu_memory_bytes": MetricSpec(
        "gauge",
        "GPU memory: allocated by tensors, reserved by torch for them, total of the device. 0 on the CPU.",
        {"kind": GPU_MEMORY_KINDS},
    ),
    "millstream_build_info": MetricSpec(
        "gauge",
        "Always 1; the labels say what runs.",
        {"version": None, "model": None, "device": None, "torch": None, "kafka_python": None},
    ),
}
"""Name to declaration, in the order of docs/metrics.md."""


SERVE_ROUTES = (
    "/v1/events",
    "/v1/users/{id}/recommendations",
    "/v1/users/{id}/recommendations/stream",
    "/livez",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "other",
)
"""Paths of `millstream serve`, and `other` for what is none of them."""

SERVE_METRICS: dict[str, MetricSpec] = {
    "millstream_serve_requests_total": MetricSpec(
        "counter",
        "Answered requests by path, method and status.",
        {"route": None, "method": None, "status": None},
    ),
    "millstream_serve_request_seconds": MetricSpec(
        "histogram",
        "From a request's first byte here to the first byte of its answer, by path.",
        {"route": SERVE_ROUTES},
        (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    ),
    "millstream_serve_events_total": MetricSpec(
        "counter",
        "Posted events by outcome: acknowledged by the brokers, invalid, not written, or unknown (no answer in time).",
        {"outcome": ("acknowledged", "invalid", "not_written", "unknown")},
    ),
    "millstream_serve_view_users": MetricSpec("gauge", "Users whose list is held in memory.", {}),
    "millstream_serve_view_bytes": MetricSpec("gauge", "Size of the lists held in memory, as JSON.", {}),
    "millstream_serve_view_lag_records": MetricSpec(
        "gauge", "Offsets of the recommendations topic not read yet. Growing means that lists are served late.", {}
    ),
    "millstream_serve_view_dropped_users_total": MetricSpec(
        "counter", "Users whose list left the memory for newer ones: raise serve.max_users if this grows.", {}
    ),
    "millstream_serve_unreadable_records_total": MetricSpec(
        "counter", "Records of the recommendations topic that are no lists: somebody else writes there.", {}
    ),
    "millstream_serve_view_reads_total": MetricSpec(
        "counter", "Times that the topic was read from its beginning: once at the start, then after each loss.", {}
    ),
    "millstream_serve_broker_silent_seconds": MetricSpec(
        "gauge", "For how long the brokers have not answered; 0 is normal.", {}
    ),
    "millstream_serve_stream_clients": MetricSpec("gauge", "Clients that follow a user now.", {}),
    "millstream_serve_connections": MetricSpec("gauge", "Open connections to the port, idle ones too.", {}),
    "millstream_serve_body_bytes": MetricSpec(
        "gauge", "Bytes of posted bodies that are held, finished or not; at most 64 MiB.", {}
    ),
    "millstream_serve_ready": MetricSpec("gauge", "1 when /readyz answers 200.", {}),
    "millstream_serve_build_info": MetricSpec(
        "gauge", "Always 1; the labels say what runs.", {"version": None, "kafka_python": None}
    ),
}
"""Of `millstream serve`, which is a process of its own; in the order of docs/metrics.md."""


class ArrayHistogram(Collector):
    """A histogram that takes a whole array at once.

    Args:
        name: metric name.
        spec: help, at most one label with fixed values, buckets.
    """

    def __init__(self, name: str, spec: MetricSpec) -> None:
        self._name, self._spec = name, spec
        self._labels = list(spec.labels)
        values = next(iter(spec.labels.values()), None) or ("",)
        self._edges = np.array(spec.buckets, np.float64)
        self._counts = {value: np.zeros(len(spec.buckets) + 1, np.int64) for value in values}
        self._sums = dict.fromkeys(self._counts, 0.0)

    def observe(self, values: npt.ArrayLike, label: str = "") -> None:
        """Count the values, `[N]`; a value on an edge belongs to the bucket below it, as in Prometheus."""
        array = np.atleast_1d(np.asarray(values, np.float64))
        buckets = np.searchsorted(self._edges, array, side="left")
        self._counts[label] += np.bincount(buckets, minlength=self._edges.size + 1)
        self._sums[label] += float(array.sum())

    def sum(self, label: str = "") -> float:
        """Return the sum of all values."""
        return self._sums[label]

    def collect(self) -> Iterator[Metric]:
        """Yield the metric family for an exposition."""
        family = HistogramMetricFamily(self._name, self._spec.help, labels=self._labels)
        for label, counts in self._counts.items():
            cumulative = np.cumsum(counts)
            bounds = [*(repr(edge) for edge in self._edges.tolist()), "+Inf"]
            buckets = [(bound, float(count)) for bound, count in zip(bounds, cumulative, strict=True)]
            family.add_metric([label] if self._labels else [], buckets, self._sums[label])
        yield family


class Metrics:
    """All metrics of one process in a registry of their own.

    Args:
        specs: name to declaration.
    """

    def __init__(self, specs: Mapping[str, MetricSpec] = METRICS) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # process_start_time_seconds shows restarts, and memory and CPU
        self._metrics = {name: self._declare(name, spec) for name, spec in specs.items()}
        self._read_at_seconds = float("-inf")
        self._was_read = threading.Event()

    def _declare(self, name: str, spec: MetricSpec) -> Counter | Gauge | ArrayHistogram:
        if spec.kind == "histogram":
            histogram = ArrayHistogram(name, spec)
            self.registry.register(histogram)
            return histogram
        kind = Counter if spec.kind == "counter" else Gauge
        metric = kind(name, spec.help, list(spec.labels), registry=self.registry)
        for labels in _combinations(spec.labels):  # a series that is not there looks like a broken scrape
            metric.labels(*labels)
        return metric

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        self._child(name, labels).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._child(name, labels)
        assert isinstance(gauge, Gauge), name
        gauge.set(value)

    def observe(self, name: str, values: npt.ArrayLike, label: str = "") -> None:
        """Fill a histogram from an array, `[N]`."""
        histogram = self._metrics[name]
        assert isinstance(histogram, ArrayHistogram), name
        histogram.observe(values, label)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format, to somebody who reads them."""
        was_read = self._was_read  # of who waits now: who begins to wait meanwhile has counted what is not in here
        exposition = generate_latest(self.registry)
        self._read_at_seconds = time.monotonic()
        was_read.set()
        return exposition

    def wait_for_reader(self, seconds: float) -> None:
        """Return when all that was counted until now was read; at most `seconds` later, and at once without a reader.

        A reader is who has read within the last minute.
        """
        self._was_read = was_read = threading.Event()
        if time.monotonic() - self._read_at_seconds <= READER_SECONDS:
            was_read.wait(seconds)

    def _child(self, name: str, labels: Mapping[str, str]) -> Counter | Gauge:
        metric = self._metrics[name]
        assert isinstance(metric, Counter | Gauge), name
        return metric.labels(**labels) if labels else metric


def _combinations(labels: Mapping[str, Sequence[str] | None]) -> Iterator[tuple[str, ...]]:
    """Yield every combination of label values; none when there is no label or a value is known only at start."""
    columns: list[Sequence[str]] = [values for values in labels.values() if values is not None]
    if not columns or len(columns) < len(labels):
        return
    combinations: list[tuple[str, ...]] = [()]
    for values in columns:
        combinations = [(*combination, value) for combination in combinations for value in values]
    yield from combinations
