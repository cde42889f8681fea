"""What exactly-once costs: throughput with transactions and checkpoints over throughput without, side by side.

    python -m benchmarks.exactly_once [--events 8000] [--batches 64,256,1024] [--rounds 3] [--report r.json]

Both arms carry the same bundled events through the same pipeline on the embedded broker, in one process, in turns. One
commits each batch in a transaction with its journal record and writes checkpoints as often as it is told to. The other
sends lists and dead letters with the same producer settings but without transactions, commits the offsets afterwards,
and writes neither journal nor checkpoints: at-least-once, with a model that is gone after a restart.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition

from millstream.local.embedded_broker import EmbeddedBroker
from producers import EventSender, dataset
from stream.checkpoint_schedule import Checkpointing
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.durability.recovery import Recovery
from stream.learning.worker_state import WorkerState
from stream.log.kafka import KafkaHistory, KafkaTransport, ensure_topics
from stream.log.kafka.client import client_options
from stream.pipeline import Pipeline
from stream.telemetry.metrics import Metrics
from stream.wire.records import OutRecord

ARMS = ("exactly_once", "at_least_once")


class AtLeastOnceTransport(KafkaTransport):
    """Sends a batch without a transaction, waits for its acknowledgements, and commits the offsets after it."""

    def _open_producer(self) -> Any:
        worker = self._settings.worker
        return KafkaProducer(
            **client_options(self._kafka, "plain"),
            delivery_timeout_ms=worker.delivery_timeout_ms,
            batch_size=262_144,
            linger_ms=5,
            max_request_size=self._settings.topics.max_message_bytes,
        )

    def _transaction(self, records: Sequence[OutRecord], offsets: Mapping[int, int]) -> None:
        journal = self._settings.topics.journal
        futures = [
            self._producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                headers=record.headers,
                timestamp_ms=record.timestamp_ms,
            )
            for record in records
            if record.topic != journal
        ]
        self._producer.flush()
        for future in futures:
            future.get(timeout=0)
        events = self._settings.topics.events
        self._consumer.commit({TopicPartition(events, p): OffsetAndMetadata(o) for p, o in offsets.items()})


def settings_for(bootstrap_servers: str, batch: int, interval_seconds: float, folder: Path) -> Settings:
    """Return settings with topics of their own."""
    name = uuid.uuid4().hex[:8]
    topics = ("events", "items", "recommendations", "dead_letters", "journal")
    return Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": bootstrap_servers},
            "topics": {topic: f"{name}.{topic}" for topic in topics} | {"partitions": 4},
            "worker": {"group_id": name, "transactional_id": name},
            "batching": {"max_events": batch},
            "checkpoints": {"url": str(folder / name), "interval_seconds": interval_seconds},
        }
    )


def run_arm(arm: str, settings: Settings, num_events: int) -> dict[str, Any]:
    """Carry `num_events` events through and return seconds in all, by stage, and what was written."""
    ensure_topics(settings)
    with EventSender(settings.kafka, settings.topics.events) as sender:
        for event in islice(dataset("online-retail").events(), num_events):
            sender.send(event)
    is_exact = arm == "exactly_once"
    transport = (KafkaTransport if is_exact else AtLeastOnceTransport)(settings)
    config = settings.checkpoints
    store = CheckpointStore(config.url, config.keep) if is_exact else None
    recovery = Recovery(
        settings, lambda: KafkaHistory(settings), store, lambda: WorkerState(settings, transport.partitions)
    )
    pipeline = Pipeline(settings, transport, recovery)
    metrics = Metrics()
    checkpointing = Checkpointing(
        config, store, metrics, monotonic=time.monotonic, wall_ms=lambda: time.time_ns() // 1_000_000
    )
    stages: Counter[str] = Counter()
    num_read, begun = 0, time.monotonic()
    while num_read < num_events:
        report = pipeline.run_once()
        if report is None:
            continue
        num_read += len(report.records)
        stages.update(report.stage_seconds)
        before = time.monotonic()
        checkpointing.after_batch(pipeline)
        stages["copy"] += time.monotonic() - before
    seconds = time.monotonic() - begun
    checkpointing.finish(pipeline)
    checkpointing.close()
    transport.close()
    exposition = metrics.exposition().decode()
    written = next(line for line in exposition.splitlines() if 'checkpoints_total{outcome="written"}' in line)
    return {
        "seconds": seconds,
        "events_per_second": num_events / seconds,
        "batches": pipeline.epoch,
        "stage_seconds": {name: round(total, 3) for name, total in stages.items()},
        "checkpoints": int(float(written.rpartition(" ")[2])),
    }


def compare(bootstrap_servers: str, batch: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the median ratio of the two arms over the rounds, which begin with either arm in turns."""
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(options.rounds):
        arms = ARMS if number % 2 == 0 else ARMS[::-1]
        done = {
            arm: run_arm(
                arm, settings_for(bootstrap_servers, batch, options.checkpoint_seconds, folder), options.events
            )
            for arm in arms
        }
        rounds.append(done)
        print(f"  batch {batch}, round {number + 1} of {options.rounds}: ratio {ratio(done):.3f}", file=sys.stderr)
    ratios = [ratio(done) for done in rounds]
    commits = [sum(done[arm]["stage_seconds"]["commit"] for done in rounds) for arm in ARMS]
    return {
        "batch": batch,
        "ratio_median": statistics.median(ratios),
        "ratios": [round(value, 3) for value in ratios],
        "events_per_second": {
            arm: round(statistics.median(d[arm]["events_per_second"] for d in rounds)) for arm in ARMS
        },
        "commit_seconds": dict(zip(ARMS, (round(value, 2) for value in commits), strict=True)),
        "copy_seconds": round(sum(done["exactly_once"]["stage_seconds"]["copy"] for done in rounds), 2),
        "checkpoints": sum(done["exactly_once"]["checkpoints"] for done in rounds),
        "rounds": rounds,
    }


def ratio(done: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the throughput of exactly-once over that of at-least-once."""
    with_it, without = (float(done[arm]["events_per_second"]) for arm in ARMS)
    return with_it / without


def main() -> None:
    """Run the comparison for each batch size and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=8_000, help="events of Online Retail per arm and round")
    parser.add_argument("--batches", default="64,256,1024", help="batching.max_events, several with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkpoint-seconds", type=float, default=2.0, help="checkpoints.interval_seconds")
    parser.add_argument("--report", type=Path, help="write everything measured to this JSON file")
    options = parser.parse_args()
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as folder:
        sizes = [int(size) for size in options.batches.split(",")]
        results = [compare(broker.bootstrap_servers, size, options, Path(folder)) for size in sizes]
    print(f"{'batch':>6} {'ratio':>7} {'with':>8} {'without':>8}  checkpoints")
    for result in results:
        with_it, without = (result["events_per_second"][arm] for arm in ARMS)
        row = f"{result['batch']:>6} {result['ratio_median']:>7.3f} {with_it:>6}/s {without:>6}/s"
        print(f"{row}  {result['checkpoints']} every {options.checkpoint_seconds:g} s")
    if options.report:
        options.report.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
