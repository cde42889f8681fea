"""What a committed batch means for the metrics and the log."""

import logging
from importlib.metadata import version

import numpy as np

from online_models import OnlineLearner
from stream.encode import Encoder
from stream.logs import log_event
from stream.metrics import STAGES, Metrics
from stream.pipeline import BatchReport
from stream.quality import LiveQuality
from stream.schema import EVENT_TYPES

__all__ = ["Observer"]

GAUGE_INTERVAL_SECONDS = 0.5
"""Gauges that cost more than a counter are refreshed this often at most."""


class Observer:
    """Writes every committed batch into the metrics, and one line into the log.

    Args:
        metrics: where to.
        quality: the live quality.
        learner: read for its table sizes and channel weights.
        encoder: read for the number of users and items.
        scorer: name of the scorer that makes the lists.
    """

    def __init__(
        self, metrics: Metrics, quality: LiveQuality, learner: OnlineLearner, encoder: Encoder, scorer: str
    ) -> None:
        self._metrics, self._quality, self._learner, self._encoder = metrics, quality, learner, encoder
        self._refreshed = -np.inf
        self._evicted = {"users": 0, "items": 0}
        self._alarms = 0
        metrics.set(
            "millstream_build_info",
            1,
            version=version("millstream"),
            model=scorer,
            device=learner.device,
            torch=version("torch"),
            kafka_python=version("kafka-python"),
        )

    def committed(self, report: BatchReport, now: float) -> None:
        """Take in a committed batch; `now` is monotonic seconds."""
        self._count(report)
        self._time(report)
        self._quality.update(report.step)
        if now - self._refreshed >= GAUGE_INTERVAL_SECONDS:
            self._refreshed = now
            self.refresh()
        log_event(
            logging.DEBUG if not report.decoded.dead_letters else logging.INFO,
            "batch_committed",
            epoch=report.epoch,
            records=len(report.records),
            lists=report.num_lists,
            dead_letters=len(report.decoded.dead_letters),
            seconds=sum(seconds for stage, seconds in report.stage_seconds.items() if stage != "poll"),
        )

    def lag(self, lag: dict[int, int]) -> None:
        """Take in the records that wait, per partition."""
        for partition, waiting in lag.items():
            self._metrics.set("millstream_consumer_lag_records", waiting, partition=str(partition))

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        metrics, quality = self._metrics, self._quality
        for model, values in quality.read().items():
            for name, (sliding, overall) in values.items():
                metrics.set(f"millstream_{name}", sliding, model=model, window="sliding")
                metrics.set(f"millstream_{name}", overall, model=model, window="overall")
        metrics.set("millstream_model_loss_nats", quality.loss_nats)
        metrics.set("millstream_users", len(self._encoder.users))
        metrics.set("millstream_items", len(self._encoder.items))
        metrics.set("millstream_dedup_ids", len(self._encoder.deduplicator))
        for table, (used, allocated) in self._learner.table_sizes().items():
            metrics.set("millstream_table_rows", used, table=table)
            metrics.set("millstream_table_capacity_rows", allocated, table=table)
        for channel, weight in self._learner.fusion_weights().items():
            metrics.set("millstream_fusion_weight", weight, channel=channel)

    def _count(self, report: BatchReport) -> None:
        metrics, step, encoded = self._metrics, report.step, report.encoded
        types = encoded.batch.event_types
        learned = np.bincount(types[encoded.batch.weights != 0], minlength=len(EVENT_TYPES))
        for index, name in enumerate(EVENT_TYPES):
            total = encoded.num_by_type.get(name, 0)
            metrics.count("millstream_events_total", int(learned[index]), type=name, outcome="learned")
            metrics.count("millstream_events_total", total - int(learned[index]), type=name, outcome="ignored")
            duplicates = encoded.num_duplicates_by_type.get(name, 0)
            metrics.count("millstream_events_total", duplicates, type=name, outcome="duplicate")
        for letter in report.decoded.dead_letters:
            metrics.count("millstream_dead_letters_total", code=letter.code.value)
        metrics.count("millstream_late_events_total", step.num_late)
        for reason, number in encoded.key_mismatches.items():
            metrics.count("millstream_key_mismatch_total", number, reason=reason)
        metrics.count("millstream_evaluated_events_total", step.num_evaluated)
        metrics.count("millstream_nonfinite_steps_total", step.num_nonfinite_steps)
        metrics.count("millstream_lists_published_total", report.num_lists)
        metrics.count("millstream_transactions_total", outcome="committed")
        metrics.count("millstream_drift_alarms_total", self._quality.num_drift_alarms - self._alarms)
        self._alarms = self._quality.num_drift_alarms
        evicted = {"users": self._encoder.users.num_evictions, "items": self._encoder.items.num_evictions}
        for table, total in evicted.items():
            metrics.count("millstream_evictions_total", total - self._evicted[table], table=table)
        self._evicted = evicted

    def _time(self, report: BatchReport) -> None:
        metrics = self._metrics
        metrics.set("millstream_epoch", report.epoch)
        metrics.set("millstream_last_commit_timestamp_seconds", report.committed_at_ms / 1000)
        metrics.observe("millstream_batch_records", len(report.records))
        for stage in STAGES:
            metrics.observe("millstream_stage_seconds", report.stage_seconds[stage], stage)
        stamps = np.array([record.timestamp_ms for record in report.decoded.records], np.float64)
        waited = (report.committed_at_ms - stamps[stamps >= 0]) / 1000
        metrics.observe("millstream_event_to_publish_seconds", np.maximum(waited, 0.0))
