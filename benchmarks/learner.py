"""Runs a file of events through the learner alone: quality against the baselines, and time per event.

    python -m benchmarks.learner --events events.parquet [--limit N] [--batch 256] [--owned | --repeat]

The file needs the columns ``user``, ``item`` and ``ts`` (event time in ms), in stream order; ``type`` is
optional. Every event counts as evidence for its item. Each is ranked before it is learned.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from online_models import Batch, LearnerConfig, OnlineLearner, StepReport, hit_rate, ndcg, reciprocal_rank

NAMES = ("model", "transitions", "popularity")
NUM_PARTS = 10


def read_events(path: Path, limit: int | None, only: str | None) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the stream as rows in order of first appearance, leaving out events without a user."""
    names = [name for name in ("user", "item", "ts", "type") if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=names)
    table = table.filter(pc.is_valid(table["user"]))
    if only and "type" in names:
        table = table.filter(pc.equal(table["type"], only))
    table = table.slice(0, limit) if limit else table
    rows = {name: _rows(table[name]) for name in names if name != "ts"}
    rows.setdefault("type", np.zeros(table.num_rows, np.int64))
    return {**rows, "ts": table["ts"].to_numpy().astype(np.int64)}


def _rows(column: Any) -> npt.NDArray[np.int64]:
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)


def shuffle_ties(events: dict[str, npt.NDArray[Any]], seed: int) -> dict[str, npt.NDArray[Any]]:
    """Return the stream with events of the same time in random order."""
    order = np.lexsort((np.random.default_rng(seed).random(len(events["ts"])), events["ts"]))
    return {name: column[order] for name, column in events.items()}


def batch_of(events: dict[str, npt.NDArray[Any]], start: int, stop: int, *, owns: bool) -> Batch:
    """Return events ``start`` to ``stop`` as a batch."""
    size = len(events["user"][start:stop])
    return Batch(
        user_rows=events["user"][start:stop],
        item_rows=events["item"][start:stop],
        event_types=events["type"][start:stop].astype(np.int8),
        times_ms=events["ts"][start:stop],
        weights=np.ones(size, np.float32),
        owns=np.full(size, owns),
        reset_user_rows=np.empty(0, np.int64),
        reset_item_rows=np.empty(0, np.int64),
    )


def quality(ranks: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the means at 10."""
    if not len(ranks):
        return {}
    metrics = {"hr": hit_rate, "ndcg": ndcg, "mrr": reciprocal_rank}
    return {name: float(metric(ranks, 10).mean()) for name, metric in metrics.items()}


@dataclass
class Measured:
    """What a run over a stream left behind."""

    ranks: dict[str, list[npt.NDArray[np.float64]]] = field(default_factory=lambda: {name: [] for name in NAMES})
    places: list[npt.NDArray[np.int64]] = field(default_factory=list)
    losses: list[npt.NDArray[np.float64]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"evaluate": 0.0, "learn": 0.0, "rank": 0.0})
    num_lists: int = 0

    def add(self, start: int, report: StepReport, rank_seconds: float, num_lists: int) -> None:
        """Keep what one batch, whose first event is number ``start``, was worth."""
        self.places.append(start + report.evaluated)
        self.losses.append(report.loss_nats)
        for name in NAMES:
            self.ranks[name].append(report.ranks[name])
        self.seconds["rank"] += rank_seconds
        self.seconds["evaluate"] += report.evaluate_seconds
        self.seconds["learn"] += report.learn_seconds
        self.num_lists += num_lists

    def numbers(self, num_events: int) -> dict[str, Any]:
        """Return quality in all and by tenth of the stream, and milliseconds per event."""
        tenths = np.concatenate(self.places) * NUM_PARTS // num_events
        joined = {name: np.concatenate(parts) for name, parts in self.ranks.items()}
        parts = [
            {name: quality(ranks[tenths == tenth]) for name, ranks in joined.items()} for tenth in range(NUM_PARTS)
        ]
        return {
            "num_events": num_events,
            "num_evaluated": len(tenths),
            "num_lists": self.num_lists,
            "loss_nats": float(np.concatenate(self.losses).mean()),
            "ms_per_event": {name: 1000 * value / num_events for name, value in self.seconds.items()},
            "quality": {name: quality(ranks) for name, ranks in joined.items()},
            "tenths": parts,
        }


def run(events: dict[str, npt.NDArray[Any]], config: LearnerConfig, batch_size: int, *, owns: bool) -> dict[str, Any]:
    """Stream all events through a learner, ranking every user a batch touched; return what was measured."""
    learner = OnlineLearner(config, clock=time.perf_counter)
    num_events = len(events["user"])
    measured = Measured()
    shown = time.perf_counter()
    num_known = 0
    for start in range(0, num_events, batch_size):
        batch = batch_of(events, start, start + batch_size, owns=owns)
        report = learner.step(batch)
        users = np.unique(batch.user_rows)
        begun = time.perf_counter()
        learner.rank(users, config.k)
        now = time.perf_counter()
        measured.add(start, report, now - begun, len(users))
        num_known = report.num_items_known
        if now - shown > 2 and sys.stderr.isatty():
            shown = now
            print(f"\r{start + len(batch):,} of {num_events:,} events", end="", file=sys.stderr, flush=True)
    state = {"fusion_weights": learner.fusion_weights(), "table_sizes": learner.table_sizes()}
    return {**measured.numbers(num_events), "num_items": num_known, **state}


def show(result: dict[str, Any]) -> None:
    """Print a table a person can read."""
    print(f"{result['num_events']:,} events, {result['num_evaluated']:,} evaluated, {result['num_items']:,} items")
    print(f"{'part':<8}" + "".join(f"{name + ' HR NDCG MRR @10':>34}" for name in NAMES))
    for label, part in [*enumerate(result["tenths"]), ("all", result["quality"])]:
        cells = [" ".join(f"{part[name].get(m, float('nan')):.4f}" for m in ("hr", "ndcg", "mrr")) for name in NAMES]
        print(f"{label!s:<8}" + "".join(f"{cell:>34}" for cell in cells))
    spent = ", ".join(f"{name} {value:.3f}" for name, value in result["ms_per_event"].items())
    print(f"ms per event: {spent}, together {sum(result['ms_per_event'].values()):.3f}; {result['num_lists']:,} lists")
    print("trust: " + ", ".join(f"{name} {value:.3f}" for name, value in result["fusion_weights"].items()))
    print(f"log-loss {result['loss_nats']:.4f} nats")


def main() -> None:
    """Read the arguments, run, show, and write the numbers if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=Path, required=True, help="parquet file")
    parser.add_argument("--limit", type=int, help="only the first N events")
    parser.add_argument("--only", help="only events of this type, for example purchase")
    parser.add_argument("--batch", type=int, default=256, help="events per micro-batch")
    parser.add_argument("--shuffle-ties", action="store_true", help="random order within one time stamp")
    parser.add_argument("--scorer", default="sequence")
    parser.add_argument("--sub-step", type=int, default=LearnerConfig().sub_step_events)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="torch threads")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--owned", dest="owns", action="store_true", default=True, help="mask what users have (default)")
    kind.add_argument("--repeat", dest="owns", action="store_false", help="items may come again")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    events = read_events(options.events, options.limit, options.only)
    if options.shuffle_ties:
        events = shuffle_ties(events, options.seed)
    config = LearnerConfig(scorer=options.scorer, seed=options.seed, sub_step_events=options.sub_step, device="cpu")
    result = run(events, config, options.batch, owns=options.owns)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
