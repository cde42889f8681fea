"""Memory of a worker under ids that were never seen: it must be flat once the tables are full.

    python -m benchmarks.unseen_ids --events 1000000 --scorer transitions --report curve.json

Every event has a user, an item and an id of its own. The pipeline is a whole one, on a log in memory whose records are
dropped once they are learned.
"""

import argparse
import json
import time
from pathlib import Path

from stream.config.settings import Settings
from stream.durability.recovery import Recovery
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Pipeline

BEGIN_MS = 1_700_000_000_000
NUM_PARTITIONS = 2
NUM_POINTS = 20


def resident_mb() -> float:
    """Return the resident memory of this process, MB; Linux."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) / 1000


def pipeline_on(log: MemoryLog, options: argparse.Namespace) -> Pipeline:
    """Return a pipeline with the capacities that were asked for."""
    model = {"scorer": options.scorer, "user_capacity": options.users, "item_capacity": options.items, "device": "cpu"}
    settings = Settings.model_validate(
        {"model": model, "topics": {"partitions": NUM_PARTITIONS}, "checkpoints": {"url": ""}}
    )
    transport = MemoryTransport(log)
    recovery = Recovery(settings, lambda: MemoryHistory(log), None, lambda: WorkerState(settings, transport.partitions))
    return Pipeline(settings, transport, recovery)


def flood(log: MemoryLog, first: int, last: int) -> None:
    """Write events, each of its own user and item."""
    for number in range(first, last):
        fields = {"user": f"user-{number}", "item": f"item-{number}", "type": "purchase", "id": f"event-{number}"}
        value = json.dumps(fields | {"ts": BEGIN_MS + number}).encode()
        log.produce(value, partition=number % NUM_PARTITIONS, timestamp_ms=BEGIN_MS + number)


def main() -> None:
    """Learn them, and print a line of the curve now and then."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=50_000, help="capacity")
    parser.add_argument("--items", type=int, default=10_000, help="capacity")
    parser.add_argument("--scorer", default="sequence")
    parser.add_argument("--report", type=Path, help="file for the curve, JSON")
    options = parser.parse_args()
    log = MemoryLog(NUM_PARTITIONS)
    pipeline, begun, curve = pipeline_on(log, options), time.monotonic(), []
    step = max(1, options.events // NUM_POINTS)
    for first in range(0, options.events, 4_096):
        last = min(first + 4_096, options.events)
        flood(log, first, last)
        while pipeline.run_once() is not None:
            pass
        for partition in range(NUM_PARTITIONS):
            log.truncate(partition, len(log.partitions[partition]))
        log.topics.clear()
        if last // step > first // step or last == options.events:
            encoder = pipeline.state.encoder
            point = {
                "events": last,
                "rss_mb": round(resident_mb()),
                "users": len(encoder.users),
                "items": len(encoder.items),
            }
            curve.append(point | {"seconds": round(time.monotonic() - begun, 1)})
            print(json.dumps(curve[-1]), flush=True)
    if options.report:
        options.report.write_text(json.dumps(curve, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
