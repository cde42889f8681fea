"""The one way through: a micro-batch from the log to the published lists.

    poll -> decode -> encode -> evaluate, learn -> rank -> publish -> commit

Everything that leaves (lists, dead letters, the journal record, the offsets) leaves in one Kafka transaction.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from msgspec.structs import asdict, replace

from online_models import MODEL_VERSION, StepReport, TopK
from stream.config.settings import Settings
from stream.durability.checkpoints import name_of
from stream.durability.recovery import Recovery
from stream.durability.start_point import Beginning, Recovered
from stream.errors import RefusedToStart
from stream.failpoints import Watch, unwatched
from stream.ingest.batching import MicroBatcher
from stream.ingest.decode import DECODE_VERSION, Decoded
from stream.ingest.encode import Encoded
from stream.learning.decisive import config_hash, decisive_settings
from stream.learning.effort_ladder import EffortLadder
from stream.learning.poison_events import Isolated, isolate
from stream.learning.worker_state import WorkerState, counts_of, environment
from stream.log.protocols import Transport
from stream.publish import Publisher
from stream.wire.decisions import Decisions, EffortLevel
from stream.wire.fingerprint import chained, hex_digits, lists_hash
from stream.wire.position import Moment
from stream.wire.records import OutRecord, Record
from stream.wire.schema import JournalEntry, OffsetRange

__all__ = ["BatchReport", "Clocks", "Pipeline"]

IDLE_POLL_SECONDS = 0.25
"""Longest wait for a first record before the loop goes round: bounds how late a stop is noticed."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, passed in: `monotonic` seconds for durations, `wall_ms` since the epoch for what is written down."""

    monotonic: Callable[[], float] = time.perf_counter
    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


@dataclass(slots=True)
class BatchReport:
    """What one committed micro-batch was; read by the metrics, the log and the tests."""

    epoch: int
    records: list[Record]
    decoded: Decoded
    encoded: Encoded
    step: StepReport
    top: TopK
    """The lists, as rows; those of the users `encoded.touched.rows`."""
    num_lists: int
    committed_at_ms: int
    stage_seconds: dict[str, float] = field(default_factory=dict)
    is_full: bool = False
    """It had as many records or bytes as a batch takes: more may wait."""


class Pipeline:
    """Carries micro-batches from a transport through the learner and back.

    Making one takes over: it ends the worker that holds the log now, and rebuilds the state after its last commit.

    Args:
        settings: all settings.
        transport: the log, not yet started; owned by the caller.
        recovery: the way to the state after the newest commit.
        beginning: what to start from.
        clocks: time.
        watch: see `stream.failpoints`.

    Raises:
        RefusedToStart: see `Transport.start` and `Recovery.recover`.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        recovery: Recovery,
        *,
        beginning: Beginning | None = None,
        clocks: Clocks | None = None,
        watch: Watch = unwatched,
    ) -> None:
        self._settings, self._transport, self._recovery = settings, transport, recovery
        self._clocks = clocks or Clocks()
        self._watch = watch
        self._beginning = beginning or Beginning()
        self._ladder = EffortLadder(settings)
        self._decisive, self._config_hash = decisive_settings(settings), config_hash(settings)
        self._batcher = MicroBatcher(settings.batching, self._clocks.monotonic)
        recovery.fresh()  # may be refused, so it comes before the take-over
        self._newest = transport.start()
        self._publisher = Publisher(settings, transport.max_record_bytes)
        self._positions = transport.positions()
        recovery.lock_folder(self._confirm_ownership)
        self._stages: dict[str, float] = {}
        self._is_full = False
        self.recovered = self._recover(self._beginning)
        """How the state was rebuilt."""
        self.state: WorkerState = self.recovered.state
        """Everything learned so far; nobody else may change it."""
        self.epoch, self._chain = self.recovered.epoch, self.recovered.chain
        self.checkpoint = self.recovered.checkpoint
        """Name of the newest checkpoint, as the journal is told."""

    def _recover(self, how: Beginning) -> Recovered:
        try:
            return self._recovery.recover(self._newest, self._positions, how)
        except RefusedToStart:
            self._confirm_ownership()  # to who was replaced meanwhile, what the newer worker does looks like damage
            raise

    def _confirm_ownership(self) -> None:
        """Commit nothing new, which is refused to a worker that was fenced."""
        self._transport.commit([], self._positions)

    def lock_again(self) -> None:
        """Take the checkpoints anew, whose lock is gone; only between two batches.

        Raises:
            FencedError: the brokers say that another worker took over.
            RefusedToStart: the folder cannot be locked.
        """
        self._confirm_ownership()
        self._recovery.lock_folder(self._confirm_ownership)

    def run_once(self) -> BatchReport | None:
        """Carry one micro-batch from the log to the published lists; None when no record came in time.

        Raises:
            MillstreamError: nothing of this batch was published, and this pipeline must not be used again.
        """
        with self._stage("poll"):
            records = self._gather()
            positions = self._transport.positions()  # past the transaction markers that follow the last records
        if not records:
            self._stages.clear()
            return None
        self._watch("polled")
        with self._stage("decode"):
            decisions = Decisions(decoded_at_ms=self._now_ms(), effort=self._effort())
            decoded, encoded = self.state.read(records, decisions)
        step = self.state.learn(decoded, encoded)  # evaluates every event, then learns it
        if step.num_nonfinite_steps:
            isolated = self._learn_without_offenders(records, decisions)
            decoded, encoded, step, decisions = isolated.decoded, isolated.encoded, isolated.step, isolated.decisions
        self._stages |= {"evaluate": step.evaluate_seconds, "learn": step.learn_seconds}
        self._watch("learned")
        with self._stage("rank"):  # with everything learned, this batch too
            top, touched = self.state.rank(encoded)
        self._watch("ranked")
        with self._stage("publish"):
            epoch, decisions = self.epoch + 1, replace(decisions, generated_at_ms=self._clocks.wall_ms())
            lists = self._publisher.lists(top, touched, self.state.encoder.items, epoch, decisions.generated_at_ms)
            dead_letters = self._publisher.dead_letters(decoded.dead_letters, decisions.decoded_at_ms)
            entry = self._entry(epoch, records, decoded.records_hash, positions, lists, decisions)
            entry.counts.update(counts_of(decoded, encoded, step) | {"lists": len(lists)})
        with self._stage("commit"):
            self._transport.commit([*lists, *dead_letters, self._publisher.journal(entry)], positions)
        self.epoch, self._chain, self._newest, self._positions = epoch, entry.chain, entry, positions
        stages, self._stages = self._stages, {}
        return BatchReport(
            epoch, records, decoded, encoded, step, top, len(lists), self._clocks.wall_ms(), stages, self._is_full
        )

    @property
    def newest(self) -> JournalEntry | None:
        """What the journal says of the newest commit; None: there was none yet."""
        return self._newest

    def positions(self) -> dict[int, int]:
        """Return the next offset of every partition after the newest commit."""
        return dict(self._positions)

    def moment(self) -> Moment:
        """Return where in the stream the state stands; only between two batches."""
        settings, recovered = self._settings, self.recovered
        return Moment(
            app=settings.worker.transactional_id,
            topic=settings.topics.events,
            epoch=self.epoch,
            chain=self._chain,
            positions=dict(self._positions),
            origin=recovered.origin,
            settings_since=recovered.settings_since,
            config_hash=self._config_hash,
            settings=self._decisive,
            environment=environment(self.state.learner),
            totals=dict(self.state.totals),
        )

    def _gather(self) -> list[Record]:
        while not self._batcher.is_due():
            wait = self._batcher.remaining_seconds() if len(self._batcher) else IDLE_POLL_SECONDS
            records = self._transport.poll(self._batcher.room(), wait, self._batcher.room_bytes())
            self._batcher.add(records)
            if not len(self._batcher):
                return []
        self._is_full = self._batcher.is_full()
        return self._batcher.take()

    def _now_ms(self) -> int:
        """Return the clock, which is not far behind that of the newest commit: it would find good events in the future.

        Raises:
            RefusedToStart: it is.
        """
        now_ms = self._clocks.wall_ms()
        behind_seconds = 0.0 if self._newest is None else (self._newest.decoded_at_ms - now_ms) / 1000
        limit_seconds = self._settings.worker.max_clock_behind_seconds
        if behind_seconds > limit_seconds:
            raise RefusedToStart(
                f"the clock of this machine is {behind_seconds:.0f} s behind that of the newest batch in the journal, "
                f"expected at most {limit_seconds:g} s: good events would be dead letters (future_time). Set the "
                "clock; or, if that batch had the wrong one, start with --set worker.max_clock_behind_seconds=N"
            )
        return now_ms

    def _effort(self) -> EffortLevel:
        lag = self._transport.lag() if self._ladder.is_auto else {}
        return self._ladder.decide(sum(lag.values())).value

    def _learn_without_offenders(self, records: list[Record], decisions: Decisions) -> Isolated:
        """Go back to the state before this batch, and learn it without the events that make the loss infinite."""
        # Until a commit or a checkpoint tells of it, only what was asked for at the start leads to this state.
        is_told = self.epoch > self.recovered.epoch or self.checkpoint == name_of(self.epoch)
        how = dataclasses.replace(self._beginning, kind="newest") if is_told else self._beginning
        before, recovery = self._recover(how).state, self._recovery
        self.state, found = isolate(recovery.fresh, before, records, decisions, recovery.progress)
        recovery.progress("the isolation is over")
        return found

    def _entry(
        self,
        epoch: int,
        records: list[Record],
        records_hash: int,
        positions: dict[int, int],
        lists: list[OutRecord],
        decisions: Decisions,
    ) -> JournalEntry:
        ranges: dict[int, OffsetRange] = {}
        for record in reversed(records):  # in (partition, offset) order: the last one set is the first of its partition
            ranges[record.partition] = OffsetRange(record.offset, positions[record.partition])
        entry = JournalEntry(
            epoch=epoch,
            app=self._settings.worker.transactional_id,
            topic=self._settings.topics.events,
            partitions=ranges,
            positions=dict(positions),
            counts={},
            config_hash=self._config_hash,
            origin=self.recovered.origin,
            settings_since=self.recovered.settings_since,
            records_hash=hex_digits(records_hash),
            applied_hash=self.state.applied_hash,
            lists_hash=lists_hash(lists),
            chain="",
            checkpoint=self.checkpoint,
            model_version=MODEL_VERSION,
            decode_version=DECODE_VERSION,
            **asdict(decisions),
        )
        return replace(entry, chain=chained(self._chain, entry))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = self._clocks.monotonic()
        yield
        self._stages[name] = self._clocks.monotonic() - start
