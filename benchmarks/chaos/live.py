"""One run with real processes on a real broker."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.chaos.child import LEFT_AT_ONCE, Sabotage, set_clock
from benchmarks.chaos.events import SourceEvent, draw_events
from benchmarks.chaos.oracle import Evidence, compare_runs, judge
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.plan import Fault, Plan
from benchmarks.chaos.processes import Life
from benchmarks.chaos.weather import AGAIN, OF_FOLDER, Trouble, touch_folder
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore, is_name
from stream.log.kafka import TopicReader, ensure_topics
from stream.wire.journal_record import read_entry
from stream.wire.records import Record
from tests.support.proxy import Proxy

__all__ = ["run_live"]

PROGRESS_SECONDS = 120.0
POLL_SECONDS = 0.05
FENCED, IN_DOUBT = 5, 6
REQUEST_TIMEOUT_MS = 3_000
_numbers = itertools.count()


class _TookTooLong(Exception):
    pass


class _Run:
    """Topics, events and workers of one run.

    Args:
        plan: what to do.
        bootstrap_servers: the broker.
        folder: for checkpoints and logs; its own.
        sabotage: see `benchmarks.chaos.child`.
    """

    def __init__(self, plan: Plan, bootstrap_servers: str, folder: Path, sabotage: Sabotage | None = None) -> None:
        name = f"chaos-{plan.seed}-{folder.parent.name[-8:]}-{next(_numbers)}"
        folder.mkdir(parents=True)
        self._folder, self._sabotage, self._plan = folder, sabotage, plan
        self.settings = plan.settings(name, bootstrap_servers, str(folder / "checkpoints"))
        self._proxy = Proxy(int(bootstrap_servers.rpartition(":")[2])) if plan.weather else None
        self._troubles: dict[Life, tuple[Trouble, ...]] = {}
        self._for_folder: list[Trouble] = []
        self._came: list[tuple[str, Callable[[], bool]]] = []
        self.outcome = Outcome(plan.seed, planned=list(plan.faults))
        self._lives: list[Life] = []
        self._ends: dict[int, int] = {}  # partition to the offset after its last record
        ensure_topics(self.settings)
        self._offsets = _GroupOffsets(self.settings)

    def carry_out(self, events: list[SourceEvent], faults: tuple[Fault, ...]) -> None:
        """Produce, let the workers live and die, and come to a clean end."""
        chunks = _chunks(events, 1 if self._plan.is_strict else len(faults) + 2)
        self._produce(chunks.pop(0))
        for fault in faults:
            life = self._start(fault)
            self._produce(chunks.pop(0) if chunks else [])
            self._until(lambda life=life: life.has_fired or self._has_caught_up(life), life)  # type: ignore[misc]
            self._end(life)
        life = self._start(None)
        self._produce(chunks.pop(0) if chunks else [])
        self._until(lambda: self._has_caught_up(life), life)
        self._end_zombies()
        self._end(life)
        self._expect_nothing_to_relearn()

    def _start(self, fault: Fault | None) -> Life:
        number = len(self._lives)
        troubles = self._plan.weather[number] if number < len(self._plan.weather) else ()
        settings, sabotage = self.settings, self._sabotage
        if self._proxy is not None:
            settings = _through(self._proxy, settings)
            self._proxy.calm()
            self._came = [(trouble.kind, trouble.begin(self._proxy)) for trouble in troubles]
            for trouble in troubles:
                if trouble.kind == "clock":
                    sabotage = partial(set_clock, trouble.seconds)
        self._for_folder = [trouble for trouble in troubles if trouble.kind in OF_FOLDER]
        life = Life(settings, fault, self._folder / f"worker-{number}.log", sabotage)
        self._lives.append(life)
        self._troubles[life] = troubles
        return life

    def _touch_folder(self, life: Life) -> None:
        """Remove or move what the drawn trouble says, once the worker is at work."""
        folder = Path(self.settings.checkpoints.url)
        if self._for_folder and life.started is not None and touch_folder(self._for_folder[0].kind, folder):
            self.outcome.weather[self._for_folder.pop(0).kind] += 1

    def _until(self, holds: Callable[[], bool], life: Life) -> None:
        deadline = time.monotonic() + PROGRESS_SECONDS
        while life.is_alive():
            life.listen()
            if holds():
                return
            self._touch_folder(life)
            self._wake_zombies(life)
            time.sleep(POLL_SECONDS)
            if time.monotonic() > deadline:
                raise _TookTooLong(f"worker {self._lives.index(life)} stands still: {life.last_words()}")
        life.listen()

    def _has_caught_up(self, life: Life) -> bool:
        # Not by tailing the journal: the embedded broker tells of aborted transactions that are long over, and a reader
        # that starts behind one then skips whatever the same producer committed later.
        if life.started is None:
            return False  # else it would be asked to end before it has recovered
        committed = self._offsets.committed()
        return all(committed.get(partition, 0) >= end for partition, end in self._ends.items())

    def _wake_zombies(self, heir: Life) -> None:
        if heir.has_taken_over:
            for zombie in self._zombies():
                if zombie is not heir and zombie.fault is not None and not zombie.fault.is_late:
                    zombie.go_on()

    def _zombies(self) -> list[Life]:
        return [life for life in self._lives if life.is_stopped and life.is_alive()]

    def _end(self, life: Life) -> None:
        """See the worker to its end, which is that of its fault, or the one that we ask for."""
        if not life.has_fired:
            life.ask_to_end()
        code = life.wait()
        self.outcome.weather.update(kind for kind, came in self._came if came())
        self._came = []
        fault = life.fault
        if life.started is not None:
            self.outcome.relearned_batches += int(life.started["relearned_batches"])
            self.outcome.recovery_seconds += float(life.started["recovery_seconds"])
        if life.has_fired and fault is not None:
            self.outcome.fired.append(fault)
            if fault.action == "stop":
                return  # a zombie: somebody else goes on
        expected = {-9} if life.has_fired and fault is not None and fault.action == "kill" else {0}
        if life.has_fired and life.was_asked_to_end and fault is not None and fault.action == "term":
            expected |= {LEFT_AT_ONCE}  # that was the second signal
        if self._troubles[life]:
            expected |= AGAIN
        if code not in expected:
            number = self._lives.index(life)
            self._part(f"worker {number} ({fault}) ended with {code}, expected {expected}: {life.last_words()}")

    def _end_zombies(self) -> None:
        """Wake who still stands still; with nothing left to commit it may never find out that it was replaced."""
        for life in [life for life in self._lives if life.is_stopped]:
            deadline = time.monotonic() + PROGRESS_SECONDS
            asked = time.monotonic() + 0.2
            while life.is_alive() and time.monotonic() < deadline:
                life.go_on()
                if time.monotonic() > asked:
                    life.ask_to_end()
                life.wait(0.05)
            allowed = {FENCED} | ({0, IN_DOUBT} if life.was_asked_to_end else set())
            if self._troubles[life]:
                allowed |= AGAIN
            if life.exit_code() not in allowed:
                self._part(f"a replaced worker ({life.fault}) ended with {life.exit_code()}: {life.last_words()}")

    def _expect_nothing_to_relearn(self) -> None:
        life = self._start(None)
        self._until(lambda: life.started is not None, life)
        life.ask_to_end()
        if life.wait() != 0 or life.started is None:
            self._part(f"after the clean end a worker ended with {life.exit_code()}: {life.last_words()}")
        elif life.started["relearned_batches"]:
            self._part(f"after the clean end {life.started['relearned_batches']} batches were re-learned")

    def _part(self, words: str) -> None:
        self.outcome.parted.append(words)

    def _produce(self, events: list[SourceEvent]) -> None:
        if not self._plan.has_markers:
            self._send(events)
            return
        middle = len(events) // 2
        source = f"{self.settings.worker.group_id}-source"
        for part, identity, end in (
            (events[:middle], source, "commit"),
            # Whoever aborts never commits: see `_has_caught_up`.
            (events[:7], f"{source}-{next(_numbers)}", "abort"),
            (events[middle:], source, "commit"),
        ):
            self._send(part, identity, end)

    def _send(self, events: list[SourceEvent], transactional_id: str = "", end: str = "") -> None:
        if not events:
            return
        options: dict[str, Any] = {"transactional_id": transactional_id} if transactional_id else {}
        producer = KafkaProducer(
            bootstrap_servers=self.settings.kafka.bootstrap_servers, max_block_ms=30_000, **options
        )
        try:
            if transactional_id:
                producer.init_transactions()
                producer.begin_transaction()
            ends = self._write(producer, events)
            if transactional_id:
                getattr(producer, f"{end}_transaction")()
        finally:
            producer.close(timeout=5)
        if end != "abort":
            self._ends |= ends

    def _write(self, producer: Any, events: list[SourceEvent]) -> dict[int, int]:
        """Return partition to the offset after its last record."""
        futures = [
            producer.send(
                self.settings.topics.events,
                value=event.value,
                key=event.key,
                partition=event.partition,
                timestamp_ms=event.timestamp_ms,
            )
            for event in events
        ]
        producer.flush(timeout=30)
        written = [future.get(timeout=30) for future in futures]
        return {one.partition: one.offset + 1 for one in sorted(written, key=lambda one: int(one.offset))}

    def evidence(self) -> Evidence:
        """Return what is in the log and in the folder of the checkpoints."""
        settings, topics = self.settings, self.settings.topics
        records: dict[int, list[Record]] = {partition: [] for partition in range(topics.partitions)}
        for record in _read(settings, topics.events):
            records[record.partition].append(record)
        folder = Path(settings.checkpoints.url)
        store = CheckpointStore(settings.checkpoints.url, settings.checkpoints.keep)
        return Evidence(
            settings=settings,
            records=records,
            entries=[e for record in _read(settings, topics.journal) if (e := read_entry(record)) is not None],
            lists=_read(settings, topics.recommendations),
            dead_letters=_read(settings, topics.dead_letters),
            offsets=self._offsets.committed(),
            manifests=[store.load(name)[0] for name in store.names()],
            leftovers=sorted(
                path.name for path in folder.iterdir() if not is_name(path.name) and path.name != "lock.json"
            ),
        )

    def close(self) -> None:
        """End what is left of the workers."""
        for life in self._lives:
            life.end()
        self._offsets.close()
        if self._proxy is not None:
            self._proxy.close()


def _through(proxy: Proxy, settings: Settings) -> Settings:
    """Return the settings of a worker behind the proxy, which soon gives up on an answer that does not come."""
    kafka = {"bootstrap_servers": proxy.bootstrap_servers, "request_timeout_ms": REQUEST_TIMEOUT_MS}
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=kafka)})


@contextmanager
def _judged(run: _Run) -> Iterator[None]:
    begun = time.monotonic()
    with closing(run):
        try:
            yield
        except _TookTooLong as error:
            run.outcome.parted.append(str(error))
    run.outcome.seconds = time.monotonic() - begun


def run_live(plan: Plan, bootstrap_servers: str, folder: Path, sabotage: Sabotage | None = None) -> Outcome:
    """Carry out a plan and judge what is left.

    Args:
        plan: what to do.
        bootstrap_servers: the broker.
        folder: for checkpoints and logs; not there yet.
        sabotage: see `benchmarks.chaos.child`.
    """
    events = draw_events(plan, time.time_ns() // 1_000_000)
    run = _Run(plan, bootstrap_servers, folder / "run", sabotage)
    with _judged(run):
        run.carry_out(events, plan.faults)
        found = run.evidence()
        run.outcome.parted += judge(found)
        if plan.is_strict:
            other = _Run(replace(plan, weather=()), bootstrap_servers, folder / "reference")
            with _judged(other):
                other.carry_out(events, ())
                run.outcome.parted += compare_runs(found, other.evidence())
            run.outcome.parted += [f"the other worker: {words}" for words in other.outcome.parted]
    return run.outcome


def _chunks(events: list[SourceEvent], number: int) -> list[list[SourceEvent]]:
    bounds = [len(events) * part // number for part in range(number + 1)]
    return [events[start:end] for start, end in itertools.pairwise(bounds)]


def _read(settings: Settings, topic: str) -> list[Record]:
    records: list[Record] = []
    with TopicReader(settings.kafka, topic) as reader:
        while not reader.caught_up():
            records += reader.poll()
    return records


class _GroupOffsets:
    """What the group has committed, as the broker says."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers,
            group_id=settings.worker.group_id,
            enable_auto_commit=False,
        )
        self._partitions = [TopicPartition(settings.topics.events, n) for n in range(settings.topics.partitions)]

    def committed(self) -> dict[int, int]:
        """Return the next offset of every partition; 0 where nothing was committed."""
        return {partition.partition: self._consumer.committed(partition) or 0 for partition in self._partitions}

    def close(self) -> None:
        """Disconnect."""
        with suppress(Exception):
            self._consumer.close(autocommit=False)
