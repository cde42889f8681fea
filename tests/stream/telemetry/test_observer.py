"""What a committed batch adds to the metrics, worked by hand."""

import logging
import math
from itertools import pairwise

import numpy as np
import pytest

from online_models import hit_rate, ndcg, reciprocal_rank
from stream.log.kafka.answers import HeldBack
from stream.log.memory import MemoryLog
from stream.pipeline import BatchReport, Clocks, Pipeline
from stream.telemetry.metrics import MODELS
from stream.telemetry.observer import Observer
from tests.stream.telemetry.test_metrics import Metrics, samples
from tests.support.events import NOW_MS, ManualClock, event_bytes, memory_pipeline, small_settings

COMMITTED_MS = NOW_MS + 2_000


class SteppingClock(ManualClock):
    """Goes on a little with every look, so that a batch that waits for company closes."""

    def __call__(self) -> float:
        self.seconds += 0.03
        return self.seconds


def observed(log: MemoryLog, **sections: dict[str, object]) -> tuple[Metrics, Pipeline, list[BatchReport]]:
    """Return the metrics after all of the log, the pipeline, and the report of each batch."""
    clocks = Clocks(monotonic=SteppingClock(), wall_ms=lambda: COMMITTED_MS)
    settings = small_settings(**{"evidence": {"owned": ()}, **sections})
    pipeline, metrics = memory_pipeline(log, settings, clocks=clocks), Metrics()
    observer = Observer(metrics, pipeline.state, "sequence")
    observer.recovered(pipeline.recovered, pipeline.newest, 0)
    reports = []
    while (report := pipeline.run_once()) is not None:
        observer.committed(report, pipeline.state, 0.0)
        reports.append(report)
    return metrics, pipeline, reports


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def shop(num_events: int = 40) -> MemoryLog:
    log = MemoryLog()
    for number in range(num_events):
        log.produce(event_bytes(f"u{number % 5}", f"i{number * 3 % 7}"), timestamp_ms=NOW_MS)
    return log


@pytest.mark.slow
def test_quality_counters_are_the_sums_that_the_reports_hold() -> None:
    metrics, _, reports = observed(shop())

    for model in MODELS:
        ranks = np.concatenate([report.step.ranks[model] for report in reports])
        assert value(metrics, "millstream_evaluated_events_total", model=model) == len(ranks) == 40
        assert value(metrics, "millstream_hits_total", model=model) == hit_rate(ranks, 3).sum() > 0
        assert value(metrics, "millstream_ndcg_total", model=model) == pytest.approx(ndcg(ranks, 3).sum())
        found = value(metrics, "millstream_reciprocal_rank_total", model=model)
        assert found == pytest.approx(reciprocal_rank(ranks, 3).sum())
    losses = sum(report.step.loss_nats.sum() for report in reports)
    assert value(metrics, "millstream_loss_nats_total") == pytest.approx(losses)


def test_the_counters_give_the_mean_that_the_gauge_shows() -> None:
    metrics, pipeline, _ = observed(shop())

    hits = value(metrics, "millstream_hits_total", model="model")
    assert pipeline.state.quality.read()["model"]["hit_ratio"][1] == pytest.approx(hits / 40)


def test_novelty_is_the_self_information_of_listed_items_in_nats() -> None:
    log = MemoryLog()
    for item in ("a", "a", "a", "b"):
        log.produce(event_bytes(f"user of {item}", item), timestamp_ms=NOW_MS)
    metrics, _, reports = observed(log, batching={"max_events": 4}, model={"k": 1, "sub_step_events": 1})
    # Popularity lists a for the second, third and fourth event, and has nothing to list for the first.
    assert reports[0].step.top_rows["popularity"].tolist() == [[-1], [0], [0], [0]]

    counts = [3.0, 1.0]  # by the end of the batch; they fade, but by a thousandth only
    share = (counts[0] + 0.05) / (sum(counts) + 0.05 * 2)
    assert value(metrics, "millstream_listed_items_total", model="popularity") == 3
    found = value(metrics, "millstream_self_information_nats_total", model="popularity")
    assert found == pytest.approx(-3 * math.log(share), rel=0.02)


def test_the_overlap_with_the_list_before_is_observed_from_a_user_s_second_list_on() -> None:
    log = MemoryLog()
    for number in range(24):  # three batches of 8 events, each of two users
        log.produce(event_bytes(f"u{number % 2}", f"i{number % 8}"), timestamp_ms=NOW_MS)
    metrics, _, reports = observed(log)

    assert [report.num_lists for report in reports] == [2, 2, 2]
    assert value(metrics, "millstream_list_overlap_ratio_count") == 4
    assert value(metrics, "millstream_list_overlap_ratio_sum") == pytest.approx(
        sum(
            len(set(before.tolist()) & set(after.tolist())) / 3
            for report, following in pairwise(reports)
            for before, after in zip(report.top.item_rows, following.top.item_rows, strict=True)
        )
    )


def test_age_is_counted_from_the_record_and_from_the_event_and_a_year_old_event_has_a_bucket() -> None:
    log = MemoryLog()
    year_ms = 365 * 86_400_000
    log.produce(event_bytes("ana", "a", ts=NOW_MS - year_ms + 60_000), timestamp_ms=NOW_MS)
    log.produce(event_bytes("ben", "a", ts=COMMITTED_MS + 5_000), timestamp_ms=NOW_MS)  # a clock that runs ahead
    metrics, _, _ = observed(log)

    assert value(metrics, "millstream_event_to_publish_seconds_sum") == 4.0
    found = samples(metrics)
    buckets = {
        labels[0][1]: count
        for (name, labels), count in found.items()
        if name == "millstream_event_time_to_publish_seconds_bucket"
    }
    assert (buckets["0.05"], buckets["2592000.0"], buckets["31536000.0"], buckets["+Inf"]) == (1, 1, 2, 2)
    assert value(metrics, "millstream_event_time_to_publish_seconds_sum") == year_ms / 1000 - 60 + 2


def test_weights_are_as_old_as_the_last_batch_that_taught_something() -> None:
    log = shop(8)
    metrics, _, _ = observed(log)
    assert value(metrics, "millstream_last_learned_timestamp_seconds") == COMMITTED_MS / 1000

    log.produce(b"bad", timestamp_ms=NOW_MS)
    metrics, _, reports = observed(log)

    assert [report.step.num_learned for report in reports] == [0]
    assert value(metrics, "millstream_last_commit_timestamp_seconds") == COMMITTED_MS / 1000
    assert value(metrics, "millstream_last_learned_timestamp_seconds") == COMMITTED_MS / 1000  # of the journal


def test_a_worker_that_never_learned_says_so_with_zero() -> None:
    log = MemoryLog()
    log.produce(b"bad", timestamp_ms=NOW_MS)
    metrics, _, _ = observed(log)

    assert value(metrics, "millstream_last_commit_timestamp_seconds") == COMMITTED_MS / 1000
    assert value(metrics, "millstream_last_learned_timestamp_seconds") == 0


def test_a_restarted_worker_knows_when_the_journal_s_newest_batch_was_committed() -> None:
    log = shop(8)
    observed(log)

    metrics, _, reports = observed(log)

    assert reports == []
    assert value(metrics, "millstream_last_commit_timestamp_seconds") == COMMITTED_MS / 1000
    assert value(metrics, "millstream_last_learned_timestamp_seconds") == COMMITTED_MS / 1000


def test_a_transaction_that_holds_records_back_for_long_is_said_once_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    observer = Observer(metrics, memory_pipeline(MemoryLog(), small_settings()).state, "popularity")

    with caplog.at_level(logging.WARNING, "millstream"):
        for seconds in (0.0, 59.0, 61.0, 90.0, 0.0, 61.0):
            observer.held_back(HeldBack({0: 7}, seconds))

    assert [record.getMessage() for record in caplog.records] == ["held_back", "held_back"]
    assert value(metrics, "millstream_held_back_records", partition="0") == 7
    assert value(metrics, "millstream_held_back_seconds") == 61.0
