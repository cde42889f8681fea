"""What a committed batch means for the metrics and the log."""

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from online_models import NO_ROW, OnlineLearner, StepReport, hit_rate, ndcg, reciprocal_rank
from stream.durability.start_point import Recovered
from stream.learning.worker_state import WorkerState
from stream.log.kafka.answers import HeldBack
from stream.logs import log_event
from stream.pipeline import BatchReport
from stream.telemetry.list_overlap import PreviousLists
from stream.telemetry.metrics import EFFORTS, STAGES, Metrics
from stream.versions import VERSIONS
from stream.wire.schema import EVENT_TYPES, JournalEntry

__all__ = ["Observer", "waits_seconds"]

GAUGE_INTERVAL_SECONDS = 0.5
"""Gauges that cost more than a counter are refreshed this often at most."""

HELD_BACK_SECONDS = 60.0
"""How long an upstream transaction is open before the log says so: by default a producer's is rolled back then."""
HELD_BACK_HINT = "a producer's transaction has not ended: see MillstreamUpstreamHeldBack in docs/runbook.md"


class Observer:
    """Writes every committed batch into the metrics, and one line into the log.

    Args:
        metrics: where to.
        state: of the pipeline, at the start: counters begin after what it has seen.
        scorer: name of the scorer that makes the lists.
    """

    def __init__(self, metrics: Metrics, state: WorkerState, scorer: str) -> None:
        self._metrics = metrics
        self._refreshed = -np.inf
        self._evicted = _evictions(state)
        self._alarms = state.quality.num_drift_alarms
        self._previous: PreviousLists | None = None
        self._is_held_back = False
        metrics.set(
            "millstream_build_info",
            1,
            version=VERSIONS["millstream"],
            model=scorer,
            device=state.learner.device,
            torch=VERSIONS["torch"],
            kafka_python=VERSIONS["kafka-python"],
        )

    def recovered(self, recovered: Recovered, newest: JournalEntry | None, num_damaged: int) -> None:
        """Take in how the state was rebuilt, and the commit that it stands at."""
        if newest is not None:
            self._commit_times(newest.generated_at_ms, newest.counts.get("learned", 0))
        self._metrics.set("millstream_epoch", recovered.epoch)
        self._metrics.set("millstream_recovered_batches", recovered.num_batches)
        self._metrics.set("millstream_recovery_seconds", recovered.seconds)
        self._metrics.set("millstream_checkpoints_damaged", num_damaged)

    def committed(self, report: BatchReport, state: WorkerState, now: float) -> None:
        """Take in a committed batch and the state after it; `now` is monotonic seconds."""
        self._count(report, state)
        self._time(report)
        self._judge(report.step, state.learner)
        self._compare(report)
        if now - self._refreshed >= GAUGE_INTERVAL_SECONDS:
            self._refreshed = now
            self.refresh(state)
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

    def held_back(self, held: HeldBack) -> None:
        """Take in what upstream transactions keep from being read; one that lasts is said once."""
        for partition, records in held.records.items():
            self._metrics.set("millstream_held_back_records", records, partition=str(partition))
        self._metrics.set("millstream_held_back_seconds", held.seconds)
        is_long = held.seconds > HELD_BACK_SECONDS
        if is_long and not self._is_held_back:
            records = sum(held.records.values())
            log_event(logging.WARNING, "held_back", records=records, seconds=held.seconds, hint=HELD_BACK_HINT)
        self._is_held_back = is_long

    def refresh(self, state: WorkerState) -> None:
        """Bring the gauges up to date."""
        metrics, quality, encoder, learner = self._metrics, state.quality, state.encoder, state.learner
        for model, values in quality.read().items():
            for name, (sliding, overall) in values.items():
                metrics.set(f"millstream_{name}", sliding, model=model, window="sliding")
                metrics.set(f"millstream_{name}", overall, model=model, window="overall")
        metrics.set("millstream_model_loss_nats", quality.loss_nats)
        metrics.set("millstream_users", len(encoder.users))
        metrics.set("millstream_items", len(encoder.items))
        metrics.set("millstream_item_candidates", len(encoder.admission))
        metrics.set("millstream_event_time_seconds", encoder.watermark.time_ms / 1000)
        metrics.set("millstream_dedup_ids", len(encoder.deduplicator))
        for kind, size_bytes in learner.memory_bytes().items():
            metrics.set("millstream_gpu_memory_bytes", size_bytes, kind=kind)
        for table, (used, allocated) in learner.table_sizes().items():
            metrics.set("millstream_table_rows", used, table=table)
            metrics.set("millstream_table_capacity_rows", allocated, table=table)
        for channel, weight in learner.fusion_weights().items():
            metrics.set("millstream_fusion_weight", weight, channel=channel)

    def _count(self, report: BatchReport, state: WorkerState) -> None:
        metrics, step, encoded = self._metrics, report.step, report.encoded
        types = encoded.batch.event_types
        weighs, has_row = encoded.batch.weights != 0, encoded.batch.item_rows != NO_ROW
        outcomes = {"learned": weighs & has_row, "ignored": ~weighs, "candidate": weighs & ~has_row}
        for outcome, which in outcomes.items():
            by_type = np.bincount(types[which], minlength=len(EVENT_TYPES)).tolist()
            for name, number in zip(EVENT_TYPES, by_type, strict=True):
                metrics.count("millstream_events_total", number, type=name, outcome=outcome)
        for name in EVENT_TYPES:
            duplicates = encoded.num_duplicates_by_type.get(name, 0)
            metrics.count("millstream_events_total", duplicates, type=name, outcome="duplicate")
        for letter in report.decoded.dead_letters:
            metrics.count("millstream_dead_letters_total", code=letter.code.value)
        metrics.count("millstream_late_events_total", step.num_late)
        metrics.count("millstream_reused_ids_total", encoded.num_reused_ids)
        metrics.count("millstream_split_users_total", encoded.num_split_users)
        for reason, number in encoded.key_mismatches.items():
            metrics.count("millstream_key_mismatch_total", number, reason=reason)
        metrics.count("millstream_lists_published_total", report.num_lists)
        metrics.count("millstream_transactions_total", outcome="committed")
        metrics.count("millstream_drift_alarms_total", state.quality.num_drift_alarms - self._alarms)
        self._alarms = state.quality.num_drift_alarms
        evicted = _evictions(state)
        for (table, reason), total in evicted.items():
            metrics.count(
                "millstream_evictions_total", total - self._evicted[table, reason], table=table, reason=reason
            )
        self._evicted = evicted
        for level in EFFORTS:
            metrics.set("millstream_effort_level", float(level == encoded.batch.effort), level=level)
        metrics.count("millstream_effort_batches_total", level=encoded.batch.effort)

    def _time(self, report: BatchReport) -> None:
        metrics = self._metrics
        metrics.set("millstream_epoch", report.epoch)
        self._commit_times(report.committed_at_ms, report.step.num_learned)
        metrics.observe("millstream_batch_records", len(report.records))
        for stage in STAGES:
            metrics.observe("millstream_stage_seconds", report.stage_seconds[stage], stage)
        metrics.observe("millstream_event_to_publish_seconds", waits_seconds(report))
        times = np.array(report.decoded.times_ms, np.float64)
        metrics.observe("millstream_event_time_to_publish_seconds", _ages(times, report))

    def _commit_times(self, committed_at_ms: int, num_learned: int) -> None:
        self._metrics.set("millstream_last_commit_timestamp_seconds", committed_at_ms / 1000)
        if num_learned:
            self._metrics.set("millstream_last_learned_timestamp_seconds", committed_at_ms / 1000)

    def _judge(self, step: StepReport, learner: OnlineLearner) -> None:
        """Add up what the lists of the evaluated events were worth; PromQL makes means of any window of it."""
        if not step.num_evaluated:
            return
        metrics, novelty = self._metrics, _self_information(step.top_rows, learner)
        metrics.count("millstream_loss_nats_total", float(step.loss_nats.sum()))
        for model, ranks in step.ranks.items():
            k = step.top_rows[model].shape[1]
            metrics.count("millstream_evaluated_events_total", step.num_evaluated, model=model)
            metrics.count("millstream_hits_total", float(hit_rate(ranks, k).sum()), model=model)
            metrics.count("millstream_ndcg_total", float(ndcg(ranks, k).sum()), model=model)
            metrics.count("millstream_reciprocal_rank_total", float(reciprocal_rank(ranks, k).sum()), model=model)
            num_listed, information_nats = novelty[model]
            metrics.count("millstream_listed_items_total", num_listed, model=model)
            metrics.count("millstream_self_information_nats_total", information_nats, model=model)

    def _compare(self, report: BatchReport) -> None:
        """Compare the published lists with those before them."""
        item_rows = report.top.item_rows
        if self._previous is None:
            self._previous = PreviousLists(item_rows.shape[1])
        self._previous.forget(report.encoded.batch.reset_user_rows)
        overlap = self._previous.replace(report.encoded.touched.rows, item_rows)
        self._metrics.observe("millstream_list_overlap_ratio", overlap)


def waits_seconds(report: BatchReport) -> npt.NDArray[np.float64]:
    """Return how long each readable event with a timestamp waited until its list was visible, `[n]` float64."""
    stamps = np.array([record.timestamp_ms for record in report.decoded.records], np.float64)
    return _ages(stamps[stamps >= 0], report)


def _ages(times_ms: npt.NDArray[np.float64], report: BatchReport) -> npt.NDArray[np.float64]:
    """Return how old what happened then was at the commit, in seconds; 0 where a clock runs ahead of ours."""
    ages: npt.NDArray[np.float64] = np.maximum((report.committed_at_ms - times_ms) / 1000, 0.0)
    return ages


def _self_information(
    lists: Mapping[str, npt.NDArray[np.int64]], learner: OnlineLearner
) -> dict[str, tuple[int, float]]:
    """Return of each model's lists, `[E, K]`, how many items they hold and the sum of `-log` of their shares, nats.

    Source: Zhou et al., "Solving the apparent diversity-accuracy dilemma", PNAS 2010 (self-information). There an
    item's share is of the users who ever took it, here of the events of late, as the decayed popularity counts them.
    """
    listed = {model: rows[rows != NO_ROW] for model, rows in lists.items()}
    return {model: (rows.size, float(-np.log(learner.popularity(rows)).sum())) for model, rows in listed.items()}


def _evictions(state: WorkerState) -> dict[tuple[str, str], int]:
    users, items = state.encoder.users, state.encoder.items
    full = {("users", "full"): users.num_evictions, ("items", "full"): items.num_evictions}
    return full | {("users", "expired"): users.num_expiries, ("items", "expired"): items.num_expiries}
