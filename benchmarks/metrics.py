"""What the metrics of a micro-batch cost: a histogram filled from an array beside one call per event, and all of them.

    python -m benchmarks.metrics [--events 1024] [--batches 60] [--rounds 5]

The first two lines are microseconds a batch for one histogram of 13 buckets, the best of the rounds. The last one is
what `Observer.committed` takes of a batch of the bundled stream, beside all else done with that batch; medians.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Histogram

from producers import dataset
from stream.config.settings import Settings
from stream.durability.recovery import Recovery
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Pipeline
from stream.telemetry.metrics import METRICS, ArrayHistogram, Metrics
from stream.telemetry.observer import Observer

NAME = "millstream_event_to_publish_seconds"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1024, help="events of a batch")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    one_by_one, at_once = histograms(arguments.events, arguments.rounds)
    print(f"one observe() per event   {one_by_one * 1e6:8.0f} µs a batch of {arguments.events}")
    print(f"one array per batch       {at_once * 1e6:8.0f} µs, {one_by_one / at_once:.0f} times as fast")
    observed, rest = whole_batches(arguments.events, arguments.batches)
    share = observed / (observed + rest)
    print(f"all metrics of a batch    {observed * 1e3:8.2f} ms beside {rest * 1e3:.0f} ms: {share:.1%} of the time")


def histograms(num_events: int, rounds: int) -> tuple[float, float]:
    """Return seconds a batch with the client's own histogram, and with ours."""
    spec = METRICS[NAME]
    values = np.random.default_rng(1).exponential(0.3, num_events)
    theirs = Histogram(NAME, spec.help, buckets=spec.buckets, registry=CollectorRegistry())
    ours = ArrayHistogram(NAME, spec)

    def one_by_one() -> None:
        for value in values.tolist():
            theirs.observe(value)

    return best(one_by_one, rounds), best(lambda: ours.observe(values), rounds)


def best(call: Callable[[], None], rounds: int) -> float:
    """Return the seconds of one call, in the best round of 100 calls."""
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(100):
            call()
        seconds.append((time.perf_counter() - begun) / 100)
    return min(seconds)


def whole_batches(num_events: int, num_batches: int) -> tuple[float, float]:
    """Return the median seconds of a batch in the observer, and in everything else."""
    settings = Settings.model_validate({"batching": {"max_events": num_events}, "evidence": {"owned": ()}})
    log = MemoryLog()
    for event in islice(dataset("online-retail").events(), num_events * num_batches):
        log.produce(msgspec.json.encode(event), key=event.user.encode(), timestamp_ms=time.time_ns() // 1_000_000)
    transport = MemoryTransport(log)
    recovery = Recovery(settings, lambda: MemoryHistory(log), None, lambda: WorkerState(settings, transport.partitions))
    pipeline = Pipeline(settings, transport, recovery)
    observer = Observer(Metrics(), pipeline.state, settings.model.scorer)
    observed, rest = [], []
    for _ in range(num_batches):
        begun = time.perf_counter()
        report = pipeline.run_once()
        assert report is not None, "the stream is shorter than asked"
        done = time.perf_counter()
        observer.committed(report, pipeline.state, time.monotonic())
        observed.append(time.perf_counter() - done)
        rest.append(done - begun)
    return statistics.median(observed), statistics.median(rest)


if __name__ == "__main__":
    sys.exit(main())
