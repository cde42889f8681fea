"""The report of a run, as a machine reads it."""

from typing import Any

from millstream.diagnosis.scrape import Scrape
from millstream.local.demo.traffic import ListWatcher, Replay
from stream.telemetry.metrics import MODELS, STAGES

__all__ = ["make_report"]

RANK_METRICS = {"hr": "millstream_hit_ratio", "ndcg": "millstream_ndcg_ratio", "mrr": "millstream_mrr_ratio"}


def make_report(replay: Replay, watcher: ListWatcher, scrape: Scrape, wall_seconds: float) -> dict[str, Any]:
    """Return what a run was: from the worker's metrics, the producer's count and the subscriber's measurements.

    Args:
        replay: the producer.
        watcher: the subscriber.
        scrape: the worker's metrics after the last batch.
        wall_seconds: from the first event sent to the last one committed.
    """
    learned = int(scrape.value("millstream_events_total", outcome="learned"))
    k = watcher.settings.model.k
    names = {f"{name}_at_{k}": metric for name, metric in RANK_METRICS.items()}
    names["coverage"] = "millstream_coverage_ratio"
    build = next(scrape.labels("millstream_build_info"), {})
    return {
        "events_in": replay.num_sent,
        "events_learned": learned,
        "events_ignored": int(scrape.value("millstream_events_total", outcome="ignored")),
        "events_duplicate": int(scrape.value("millstream_events_total", outcome="duplicate")),
        "dead_letters": int(scrape.value("millstream_dead_letters_total")),
        "late_events": int(scrape.value("millstream_late_events_total")),
        "lists_published": int(scrape.value("millstream_lists_published_total")),
        "lists_seen": watcher.num_lists,
        "batches": int(scrape.value("millstream_transactions_total", outcome="committed")),
        "users": int(scrape.value("millstream_users")),
        "items": int(scrape.value("millstream_items")),
        "wall_seconds": round(wall_seconds, 3),
        "events_per_second": round(replay.num_sent / wall_seconds, 1) if wall_seconds else None,
        "freshness_seconds": watcher.freshness_seconds(),
        "stage_seconds": {
            stage: round(scrape.value("millstream_stage_seconds_sum", stage=stage), 4) for stage in STAGES
        },
        "quality": {
            model: {
                name: round(scrape.value(metric, model=model, window="overall"), 6) for name, metric in names.items()
            }
            for model in MODELS
        },
        "evaluated_events": int(scrape.value("millstream_evaluated_events_total", model="model")),
        "loss_nats": round(scrape.value("millstream_model_loss_nats"), 4),
        "drift_alarms": int(scrape.value("millstream_drift_alarms_total")),
        "device": build.get("device"),
        "versions": {name: build.get(name) for name in ("version", "torch", "kafka_python", "model")},
    }
