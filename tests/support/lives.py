"""Workers that follow one another on one log in memory and one folder of checkpoints: started, killed, and so on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from online_models import OnlineLearner, State, digest
from stream.checkpoint_schedule import Checkpointing
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore, name_of
from stream.durability.recovery import Recovery
from stream.durability.start_point import Beginning, Recovered
from stream.errors import RefusedToStart
from stream.failpoints import Watch, unwatched
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import BatchReport, Clocks, Pipeline
from stream.telemetry.metrics import Metrics
from stream.wire.schema import JournalEntry
from tests.support.events import NOW_MS, ManualClock, event_bytes, small_settings

__all__ = ["Life", "Lives", "Ticking", "batches", "damage", "fast_settings", "refusal", "same", "untrained"]


def fast_settings(**sections: dict[str, object]) -> Settings:
    """Return settings for a test with many batches: of 4 events, with the scorer that learns fastest."""
    model = {"scorer": "transitions", "user_capacity": 1000, "item_capacity": 100} | sections.pop("model", {})
    return small_settings(**{"batching": {"max_events": 4}, "model": model, **sections})


class Ticking:
    """A wall clock that never shows the same time twice: what reads it where it should not ends up different."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        self.now_ms += 7
        return self.now_ms


@dataclass
class Life:
    """One worker, from its start to its end."""

    pipeline: Pipeline
    recovery: Recovery
    store: CheckpointStore | None
    checkpointing: Checkpointing
    metrics: Metrics
    clock: ManualClock

    @property
    def recovered(self) -> Recovered:
        return self.pipeline.recovered

    def run(self, num_batches: int = 1_000_000) -> list[BatchReport]:
        """Carry batches, as many as there are, and return their reports."""
        reports: list[BatchReport] = []
        while len(reports) < num_batches and (report := self.pipeline.run_once()) is not None:
            reports.append(report)
        return reports

    def checkpoint(self) -> str:
        """Write the state down now; return the checkpoint's name."""
        assert self.store is not None
        manifest = self.store.write(self.pipeline.moment(), self.pipeline.state.state(), NOW_MS)
        self.pipeline.checkpoint = name_of(manifest.moment.epoch)
        return self.pipeline.checkpoint

    def state(self) -> State:
        return self.pipeline.state.state()

    def kill(self) -> None:
        """End as a killed process does: nothing is finished, and the system drops the lock."""
        self.checkpointing.close()
        if self.store is not None:
            self.store.unlock()


@dataclass
class Lives:
    """A log, a folder and a wall clock, which outlive the workers."""

    folder: Path
    settings: Settings = field(default_factory=fast_settings)
    num_partitions: int = 2
    keep: int = 100
    lives: list[Life] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = MemoryLog(self.num_partitions)
        self.wall_ms = Ticking()

    def produce(self, num_events: int, partition: int | None = None) -> None:
        """Append clicks and purchases of 7 users on 11 items: some without an id, some repeated, late or bad."""
        for _ in range(num_events):
            number = sum(begin + len(part) for begin, part in zip(self.log.begins, self.log.partitions, strict=True))
            what = number - 1 if number % 10 == 5 else number  # a tenth are the one before them again
            fields = {} if number % 3 == 0 else {"id": f"e{what}"}
            late_ms = 90_000 if number % 9 == 4 else 0
            user, item, type = f"u{what * 5 % 7}", f"i{what * what % 11}", "click" if what % 4 else "purchase"
            value = event_bytes(user, item, type, **{**fields, "ts": NOW_MS + number - late_ms})
            into = what * 5 % 7 % len(self.log.partitions) if partition is None else partition
            self.log.produce(b"bad" if number % 13 == 7 else value, partition=into, timestamp_ms=NOW_MS + number)

    def start(
        self,
        settings: Settings | None = None,
        how: Beginning | None = None,
        *,
        with_store: bool = True,
        watch: Watch = unwatched,
        make_learner: Callable[[], OnlineLearner] | None = None,
    ) -> Life:
        """End the worker that runs, as if killed, and start the next one."""
        self.kill()
        settings = settings or self.settings
        store = CheckpointStore(str(self.folder), self.keep, watch) if with_store else None
        transport, metrics, clock = MemoryTransport(self.log, watch), Metrics(), ManualClock()
        recovery = Recovery(
            settings,
            lambda: MemoryHistory(self.log),
            store,
            lambda: WorkerState(settings, transport.partitions, make_learner() if make_learner else None),
            watch,
        )
        clocks = Clocks(monotonic=_Hasty(), wall_ms=self.wall_ms)
        try:
            pipeline = Pipeline(settings, transport, recovery, beginning=how, clocks=clocks, watch=watch)
        except BaseException:
            if store is not None:
                store.unlock()
            raise
        checkpointing = Checkpointing(
            settings.checkpoints, store, metrics, monotonic=clock, wall_ms=self.wall_ms, watch=watch
        )
        self.lives.append(Life(pipeline, recovery, store, checkpointing, metrics, clock))
        checkpointing.begin(pipeline)
        return self.lives[-1]

    def kill(self) -> None:
        """End the worker that runs, if one does, as a killed process ends."""
        while self.lives:
            self.lives.pop().kill()

    def journal(self) -> list[JournalEntry]:
        """Return all entries of the journal."""
        return list(MemoryHistory(self.log).entries(1))

    def rewrite_journal(self, entries: Sequence[JournalEntry]) -> None:
        """Put other entries into the journal, as nobody ever should."""
        from stream.publish import Publisher

        publisher = Publisher(self.settings, 1_000_000)
        self.log.topics[self.log.journal_topic] = [publisher.journal(entry) for entry in entries]


class _Hasty(ManualClock):
    """Goes on with every look, so that a batch that waits for company closes."""

    def __call__(self) -> float:
        self.seconds += 0.03
        return self.seconds


def damage(folder: Path, name: str) -> None:
    """Turn one bit in the middle of the state of a checkpoint."""
    [path] = (folder / name).glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def batches(lives: Lives, num_batches: int, settings: Settings | None = None) -> State:
    """Have the running worker, or a first one, commit so many batches of 4; return the state after them."""
    life = lives.lives[-1] if lives.lives else lives.start(settings)
    lives.produce(4 * num_batches)
    assert len(life.run(num_batches)) == num_batches
    return life.state()


def refusal(lives: Lives, settings: Settings | None = None, how: Beginning | None = None, **options: Any) -> str:
    published = {topic: list(records) for topic, records in lives.log.topics.items()}
    with pytest.raises(RefusedToStart) as refused:
        lives.start(settings, how, **options)
    assert lives.log.topics == published
    assert refused.value.exit_code == 4
    return str(refused.value)


def untrained(lives: Lives) -> str:
    return digest(WorkerState(lives.settings, range(lives.num_partitions)).state())


def same(one: State, other: State) -> bool:
    return digest(one) == digest(other)
