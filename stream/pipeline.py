"""The one way through: a micro-batch from the log to the published lists.

    poll -> decode -> encode -> evaluate, learn -> rank -> publish -> commit

Everything that leaves (lists, dead letters, the journal record, the offsets) leaves in one Kafka transaction.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from online_models import OnlineLearner, StepReport
from stream.batching import MicroBatcher
from stream.decode import Decoded, Decoder
from stream.encode import Encoded, Encoder
from stream.publish import Publisher
from stream.records import Record
from stream.schema import JournalEntry, OffsetRange
from stream.settings import Settings
from stream.transport import Transport

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
    num_lists: int
    committed_at_ms: int
    stage_seconds: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Carries micro-batches from a transport through the learner and back.

    Args:
        settings: all settings.
        transport: the log, not yet started; owned by the caller.
        learner: the model; only this pipeline may step it.
        clocks: time.

    Raises:
        RefusedToStart: see `Transport.start`, and the tables may be too small for a batch.
    """

    def __init__(
        self, settings: Settings, transport: Transport, learner: OnlineLearner, clocks: Clocks | None = None
    ) -> None:
        self._settings = settings
        self._clocks = clocks or Clocks()
        self._transport = transport
        self._learner = learner
        self._batcher = MicroBatcher(settings.batching, self._clocks.monotonic)
        self._decoder = Decoder(settings.events)
        self.encoder = Encoder(settings, transport.partitions)  # may refuse, so it comes before the take-over
        newest = transport.start()
        self._publisher = Publisher(settings, f"{settings.model.scorer}-1", transport.max_record_bytes)
        self._positions = transport.positions()
        self._stages: dict[str, float] = {}
        self.epoch = 0 if newest is None else newest.epoch
        """Number of the newest committed batch."""
        self._cold_start = True

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
        with self._stage("decode"):
            decoded_at_ms = self._clocks.wall_ms()
            decoded = self._decoder.decode(records, decoded_at_ms)
            encoded = self.encoder.encode(decoded)
        step = self._learner.step(encoded.batch)  # evaluates every event before it learns it
        self._stages |= {"evaluate": step.evaluate_seconds, "learn": step.learn_seconds}
        with self._stage("rank"):  # with everything learned, this batch too
            top = self._learner.rank(encoded.touched.rows, self._settings.model.k)
            touched = encoded.touched.that_know(self._learner.newest_times_ms(encoded.touched.rows))
        with self._stage("publish"):
            epoch = self.epoch + 1
            lists = self._publisher.lists(top, touched, self.encoder.items, epoch, self._clocks.wall_ms())
            dead_letters = self._publisher.dead_letters(decoded.dead_letters, decoded_at_ms)
            entry = self._journal_entry(epoch, records, positions, decoded_at_ms)
            entry.counts.update(_counts(decoded, encoded, step, len(lists)))
        with self._stage("commit"):
            self._transport.commit([*lists, *dead_letters, self._publisher.journal(entry)], positions)
        self.epoch, self._positions, self._cold_start = epoch, positions, False
        stages, self._stages = self._stages, {}
        return BatchReport(epoch, records, decoded, encoded, step, len(lists), self._clocks.wall_ms(), stages)

    def positions(self) -> dict[int, int]:
        """Return the next offset of every partition after the newest commit."""
        return dict(self._positions)

    def _gather(self) -> list[Record]:
        while not self._batcher.is_due():
            wait = self._batcher.remaining_seconds() if len(self._batcher) else IDLE_POLL_SECONDS
            records = self._transport.poll(self._batcher.room(), wait)
            self._batcher.add(records)
            if not len(self._batcher):
                return []
        return self._batcher.take()

    def _journal_entry(
        self, epoch: int, records: list[Record], positions: dict[int, int], decoded_at_ms: int
    ) -> JournalEntry:
        ranges: dict[str, OffsetRange] = {}
        for record in reversed(records):  # in (partition, offset) order: the last one set is the first of its partition
            ranges[str(record.partition)] = OffsetRange(record.offset, positions[record.partition])
        return JournalEntry(
            epoch=epoch,
            app=self._settings.worker.transactional_id,
            topic=self._settings.topics.events,
            partitions=ranges,
            positions={str(partition): offset for partition, offset in positions.items()},
            counts={},
            decoded_at_ms=decoded_at_ms,
            config_hash=self._settings.config_hash(),
            cold_start=self._cold_start,
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = self._clocks.monotonic()
        yield
        self._stages[name] = self._clocks.monotonic() - start


def _counts(decoded: Decoded, encoded: Encoded, step: StepReport, num_lists: int) -> dict[str, int]:
    return {
        "events": len(decoded.events),
        "learned": step.num_learned,
        "duplicates": encoded.num_duplicates,
        "late": step.num_late,
        "dead_letters": len(decoded.dead_letters),
        "lists": num_lists,
    }
