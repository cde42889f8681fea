"""The same in one process: a log in memory, and exceptions where a process would be killed."""

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.events import SourceEvent, draw_events
from benchmarks.chaos.oracle import Evidence, compare_runs, judge
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.plan import Fault, Plan
from benchmarks.chaos.weather import Trouble, touch_folder
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore, CheckpointUnlocked, is_name, name_of
from stream.durability.recovery import Recovery
from stream.errors import FencedError, MillstreamError, TransactionInDoubt
from stream.failpoints import Watch, unwatched
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Clocks, Pipeline
from stream.wire.records import OutRecord, Record

__all__ = ["NOW_MS", "MemoryRun", "Parts", "run_in_memory"]

NOW_MS = 1_700_000_000_000
"""When every run in memory begins."""
HEIR_BATCHES = 2


class _Killed(BaseException):
    """The process is gone: nothing may catch this."""


class _Failed(Exception):
    """Something went wrong at an instant."""


class _ImpatientStore(CheckpointStore):
    """Does not wait for the holder of the folder, who stands still in this very thread."""

    def lock(self, owner: str, wait_seconds: float = 0.0, confirm: Callable[[], None] = lambda: None) -> None:
        super().lock(owner, 0.0, confirm)


class Parts:
    """What a worker in memory is made of; a test replaces some of it to see that the judge finds that."""

    transport: Callable[[MemoryLog, Watch], MemoryTransport] = MemoryTransport
    state: Callable[[Settings, tuple[int, ...]], WorkerState] = WorkerState


class MemoryRun:
    """A log and the workers of one run.

    Args:
        plan: what to do; see `draw_plan`.
        folder: for checkpoints; its own.
        parts: what the workers are made of.
    """

    def __init__(self, plan: Plan, folder: Path, parts: Parts) -> None:
        self.plan, self._parts = plan, parts
        self.outcome = Outcome(plan.seed, planned=list(plan.faults))
        self.settings = plan.settings("chaos", "127.0.0.1:1", str(folder))
        topics = self.settings.topics
        self.log = MemoryLog(plan.num_partitions, events=topics.events, journal=topics.journal)
        self._seconds = itertools.count()
        self._milliseconds = itertools.count(NOW_MS, 400)  # a run takes some seconds of these
        self._ahead_ms = 0
        self._clocks = Clocks(
            monotonic=lambda: float(next(self._seconds)), wall_ms=lambda: next(self._milliseconds) + self._ahead_ms
        )
        self._for_folder: list[Trouble] = []

    def carry_out(self, events: list[SourceEvent], faults: tuple[Fault, ...]) -> None:
        """Produce, let the workers live and die, and come to a clean end."""
        waiting = list(events)
        if self.plan.is_strict:
            self._produce(waiting, len(waiting))
        for fault, troubles in itertools.zip_longest((*faults, None), self.plan.weather, fillvalue=()):
            self._begin(troubles)  # type: ignore[arg-type]
            self._live(fault or None, waiting)  # type: ignore[arg-type]
        try:
            num_batches = self._open(self._store(unwatched), unwatched).recovered.num_batches
        except MillstreamError as error:
            self.outcome.parted.append(f"after the clean end: {type(error).__name__}: {error}")
            return
        if num_batches:
            self.outcome.parted.append(f"after the clean end {num_batches} batches were re-learned")

    def _begin(self, troubles: tuple[Trouble, ...]) -> None:
        """Have happen around the next worker what was drawn."""
        self.outcome.weather.update(trouble.kind for trouble in troubles if trouble.kind == "clock")
        self._ahead_ms = sum(int(trouble.seconds * 1000) for trouble in troubles if trouble.kind == "clock")
        self._for_folder = [trouble for trouble in troubles if trouble.kind != "clock"]

    def _touch_folder(self, num_batches: int) -> None:
        """Remove or move what the drawn trouble says, after so many batches of this worker."""
        if self._for_folder and num_batches >= self._for_folder[0].skip:
            kind = self._for_folder.pop(0).kind
            self.outcome.weather[kind] += touch_folder(kind, Path(self.settings.checkpoints.url))

    def _live(self, fault: Fault | None, waiting: list[SourceEvent]) -> None:
        """Live until all is learned, or the fault."""
        watch = _FaultyWatch(fault, self._be_replaced, self.outcome)
        store = self._store(watch)
        try:
            pipeline = self._open(store, watch)
            self.outcome.relearned_batches += pipeline.recovered.num_batches
            self.outcome.recovery_seconds += pipeline.recovered.seconds
            self._work(pipeline, store, watch, waiting, -1)
            self._write_checkpoint(pipeline, store, watch)
        except _Killed:
            pass
        except _Failed as error:
            watch.expect("error", error)
        except FencedError as error:
            watch.expect("fence", error)
        except TransactionInDoubt as error:
            watch.expect("error", error)
        except MillstreamError as error:
            self.outcome.parted.append(f"{fault}: {type(error).__name__}: {error}")
        finally:
            store.unlock()  # as the system does when a process ends

    def _work(
        self, pipeline: Pipeline, store: CheckpointStore, watch: Watch, waiting: list[SourceEvent], most: int
    ) -> None:
        num_batches = 0
        while most:
            self._touch_folder(num_batches)
            num_batches += 1
            self._produce(waiting, self.plan.batch_events * 3 // 4 + pipeline.epoch % 9)
            if pipeline.run_once() is None and not waiting:
                return
            most -= 1
            if self.plan.interval_seconds < 1 and (pipeline.epoch + self.plan.seed) % (self.plan.keep + 1) == 0:
                with suppress(_Failed, FencedError):  # the writing thread keeps what goes wrong from the stream
                    self._write_checkpoint(pipeline, store, watch)

    def _write_checkpoint(self, pipeline: Pipeline, store: CheckpointStore, watch: Watch) -> None:
        moment, state = pipeline.moment(), pipeline.state.state()
        watch("state_copied")
        if moment.epoch and not (Path(self.settings.checkpoints.url) / name_of(moment.epoch)).exists():
            while True:
                try:
                    store.write(moment, state, self._clocks.wall_ms())
                    break
                except CheckpointUnlocked:
                    pipeline.lock_again()  # as a worker does: the brokers say whether it was replaced
            pipeline.checkpoint = name_of(moment.epoch)

    def _be_replaced(self) -> None:
        """Have another worker take over, work a while, and leave."""
        store = self._store(unwatched)
        try:
            self._work(self._open(store, unwatched), store, unwatched, [], HEIR_BATCHES)
        finally:
            store.unlock()

    def _store(self, watch: Watch) -> CheckpointStore:
        return _ImpatientStore(self.settings.checkpoints.url, self.settings.checkpoints.keep, watch)

    def _open(self, store: CheckpointStore, watch: Watch) -> Pipeline:
        transport = self._parts.transport(self.log, watch)
        recovery = Recovery(
            self.settings,
            lambda: MemoryHistory(self.log),
            store,
            lambda: self._parts.state(self.settings, transport.partitions),
            watch,
        )
        return Pipeline(self.settings, transport, recovery, clocks=self._clocks, watch=watch)

    def _produce(self, waiting: list[SourceEvent], number: int) -> None:
        for event in waiting[:number]:
            self.log.produce(event.value, partition=event.partition, key=event.key, timestamp_ms=event.timestamp_ms)
        del waiting[:number]

    def evidence(self) -> Evidence:
        """Return what is in the log and in the folder of the checkpoints."""
        topics, url = self.settings.topics, self.settings.checkpoints.url
        store = CheckpointStore(url, self.settings.checkpoints.keep)
        return Evidence(
            settings=self.settings,
            records=dict(enumerate(self.log.partitions)),
            entries=list(MemoryHistory(self.log).entries(1)),
            lists=_as_read(self.log.published(topics.recommendations)),
            dead_letters=_as_read(self.log.published(topics.dead_letters)),
            offsets=self.log.committed,
            manifests=[store.manifest(name) for name in store.names()],
            leftovers=[p.name for p in Path(url).iterdir() if not is_name(p.name) and p.name != "lock.json"],
        )


class _FaultyWatch:
    def __init__(self, fault: Fault | None, be_replaced: Callable[[], None], outcome: Outcome) -> None:
        self._fault, self._be_replaced, self._outcome = fault, be_replaced, outcome
        self._num_met = 0
        self._has_fired = False

    def __call__(self, instant: str) -> None:
        fault = self._fault
        if fault is None or instant != fault.instant:
            return
        self._num_met += 1
        if self._num_met != fault.occurrence:
            return
        self._has_fired = True
        self._outcome.fired.append(fault)
        if fault.action == "kill":
            raise _Killed
        if fault.action == "error":
            raise _Failed(f"at {instant}")
        self._be_replaced()

    def expect(self, action: str, error: Exception) -> None:
        """Note down an end that the fault does not account for."""
        if not self._has_fired or self._fault is None or self._fault.action != action:
            self._outcome.parted.append(f"{self._fault}: ended by {type(error).__name__}: {error}")


def run_in_memory(plan: Plan, folder: Path, parts: Parts | None = None) -> Outcome:
    """Carry out a plan in this process and judge what is left.

    Args:
        plan: what to do; see `draw_plan`.
        folder: for checkpoints; its own.
        parts: what the workers are made of.
    """
    begun = time.monotonic()
    events = draw_events(plan, NOW_MS)
    run = MemoryRun(plan, folder / "run", parts or Parts())
    run.carry_out(events, plan.faults)
    found = run.evidence()
    run.outcome.parted += judge(found)
    if plan.is_strict:
        other = MemoryRun(replace(plan, weather=()), folder / "reference", Parts())
        other.carry_out(events, ())
        run.outcome.parted += [*other.outcome.parted, *compare_runs(found, other.evidence())]
    run.outcome.seconds = time.monotonic() - begun
    return run.outcome


def _as_read(records: list[OutRecord]) -> list[Record]:
    return [
        Record(r.topic, 0, offset, r.key, r.value, r.headers, 0 if r.timestamp_ms is None else r.timestamp_ms)
        for offset, r in enumerate(records)
    ]
