"""A log in memory: the same promises as Kafka's, for tests and notebooks, in one process and without a broker."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from stream.errors import FencedError, RecordsGone, RefusedToStart, TransactionInDoubt
from stream.failpoints import Watch, unwatched
from stream.log.protocols import NO_LIMIT
from stream.wire.journal_record import read_entry
from stream.wire.records import Headers, OutRecord, Record, until_bytes
from stream.wire.schema import JournalEntry

__all__ = ["MemoryHistory", "MemoryLog", "MemoryPublished", "MemoryTransport"]


class MemoryLog:
    """Topics as lists of records; the events topic has partitions, the others one each.

    Args:
        num_partitions: of the events topic.
        clock_ms: stamps records that come without a timestamp, milliseconds.
        events: name of the events topic.
        journal: name of the journal topic.
    """

    def __init__(
        self,
        num_partitions: int = 1,
        clock_ms: Callable[[], int] = lambda: 0,
        *,
        events: str = "events",
        journal: str = "millstream.journal",
    ) -> None:
        self.events_topic = events
        self.journal_topic = journal
        self.partitions: list[list[Record]] = [[] for _ in range(num_partitions)]
        self.topics: dict[str, list[OutRecord]] = {}
        self.committed: dict[int, int] = {}
        self.begins = [0] * num_partitions
        self.owner = 0
        self._clock_ms = clock_ms

    def produce(
        self,
        value: bytes | None,
        *,
        partition: int = 0,
        key: bytes | None = None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Append one record to the events topic."""
        records = self.partitions[partition]
        offset = self.begins[partition] + len(records)
        stamp = self._clock_ms() if timestamp_ms is None else timestamp_ms
        records.append(Record(self.events_topic, partition, offset, key, value, headers or [], stamp))

    def truncate(self, partition: int, num_records: int) -> None:
        """Drop the oldest records of a partition, as retention does."""
        del self.partitions[partition][:num_records]
        self.begins[partition] += num_records

    def published(self, topic: str) -> list[OutRecord]:
        """Return everything committed to a topic, oldest first."""
        return self.topics.get(topic, [])


class MemoryTransport:
    """One worker's hold on a `MemoryLog`; a newer one fences it. Satisfies `stream.log.protocols.Transport`.

    Args:
        log: the log.
        watch: called at the instants of a transaction. What it raises is the error of that instant: from
            `transaction_committed` on the batch is there all the same, as when the answer to a commit is lost.
    """

    max_record_bytes = 1_048_576

    def __init__(self, log: MemoryLog, watch: Watch = unwatched) -> None:
        self._log = log
        self._watch = watch
        self._broken = False
        self._identity = 0
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions of the events topic."""
        return tuple(range(len(self._log.partitions)))

    def positions(self) -> dict[int, int]:
        """Return the next offset to be read of every partition."""
        return dict(self._positions)

    def start(self) -> JournalEntry | None:
        """Fence the worker before this one and return the newest journal entry, or None."""
        log = self._log
        log.owner += 1
        self._identity = log.owner
        self._positions = {number: log.committed.get(number, log.begins[number]) for number in self.partitions}
        self._watch("taken_over")
        return MemoryHistory(log).newest()

    def poll(self, max_records: int, timeout_seconds: float, max_bytes: int = NO_LIMIT) -> list[Record]:
        """Return the next records; never waits."""
        polled: list[Record] = []
        for partition, records in enumerate(self._log.partitions):
            begin, position = self._log.begins[partition], self._positions[partition]
            if position < begin:
                raise RefusedToStart(f"partition {partition}: offset {position} is below the log start {begin}")
            new = records[position - begin : position - begin + max_records - len(polled)]
            polled.extend(new)
        polled = polled[: until_bytes(polled, max_bytes)]
        for record in polled:
            self._positions[record.partition] = record.offset + 1
        return polled

    def commit(self, records: Sequence[OutRecord], offsets: Mapping[int, int]) -> None:
        """Append the records and the offsets, all or nothing."""
        self._expect_to_be_owner()
        if self._broken:
            raise TransactionInDoubt("an earlier transaction failed: start anew")
        try:
            self._watch("transaction_begun")
            self._watch("records_sent")
            self._watch("records_flushed")
            self._watch("offsets_sent")
            self._expect_to_be_owner()  # who takes over in the middle of a transaction rolls it back
            for record in records:
                self._log.topics.setdefault(record.topic, []).append(record)
            self._log.committed.update(offsets)
            self._watch("transaction_committed")
        except FencedError:
            self._broken = True
            raise
        except Exception as error:
            self._broken = True
            raise TransactionInDoubt(f"the transaction failed: {error}") from error

    def _expect_to_be_owner(self) -> None:
        if self._identity != self._log.owner:
            raise FencedError("another worker took over")

    def lag(self) -> dict[int, int]:
        """Return the records not read yet, per partition."""
        ends = [begin + len(records) for begin, records in zip(self._log.begins, self._log.partitions, strict=True)]
        return {partition: ends[partition] - position for partition, position in self._positions.items()}

    def silent_seconds(self) -> float:
        """Return 0: memory always answers."""
        return 0.0

    def close(self) -> None:
        """Nothing to do."""


class MemoryHistory:
    """What was committed to a `MemoryLog`. Satisfies `stream.log.protocols.History`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions of the events topic."""
        return tuple(range(len(self._log.partitions)))

    def newest(self) -> JournalEntry | None:
        """Return the newest journal entry, or None."""
        journal = self._log.published(self._log.journal_topic)
        entries = (self._read(offset) for offset in reversed(range(len(journal))))
        return next((entry for entry in entries if entry is not None), None)

    def entries(self, first_epoch: int) -> Iterator[JournalEntry]:
        """Yield the journal's entries from `first_epoch` on."""
        for offset in range(len(self._log.published(self._log.journal_topic))):
            entry = self._read(offset)
            if entry is not None and entry.epoch >= first_epoch:
                yield entry

    def records(self, entry: JournalEntry) -> list[Record]:
        """Return the records of a batch.

        Raises:
            RecordsGone: some are no longer in the log.
        """
        records: list[Record] = []
        for partition, span in sorted(entry.partitions.items()):
            begin, log = self._log.begins[partition], self._log.partitions[partition]
            if span.first < begin or span.next > begin + len(log):
                raise RecordsGone(
                    f"{entry.topic}[{partition}]: epoch {entry.epoch} was made of the offsets "
                    f"[{span.first}, {span.next}), and the log holds [{begin}, {begin + len(log)})"
                )
            records += log[span.first - begin : span.next - begin]
        return records

    def close(self) -> None:
        """Nothing to do."""

    def _read(self, offset: int) -> JournalEntry | None:
        record = self._log.published(self._log.journal_topic)[offset]
        return read_entry(Record(record.topic, 0, offset, record.key, record.value, record.headers, 0))


class MemoryPublished:
    """What was published to a `MemoryLog`. Satisfies `stream.log.protocols.Published`.

    Args:
        log: the log.
        topic: of the lists.
    """

    def __init__(self, log: MemoryLog, topic: str = "recommendations") -> None:
        self._log, self._topic = log, topic

    def lists(self) -> Iterator[Record]:
        """Yield the records of the topic."""
        for offset, record in enumerate(self._log.published(self._topic)):
            yield Record(record.topic, 0, offset, record.key, record.value, record.headers, record.timestamp_ms or 0)

    def committed(self) -> dict[int, int]:
        """Return the offsets."""
        return dict(self._log.committed)

    def close(self) -> None:
        """Nothing to do."""
