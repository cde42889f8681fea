"""What the pipeline needs of a log, and what recovery needs of its past.

`stream.log.kafka` has the real ones, `stream.log.memory` the others. All pass `tests/contracts/test_transports.py`.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from stream.wire.records import OutRecord, Record
from stream.wire.schema import JournalEntry

__all__ = ["NO_LIMIT", "History", "Published", "Transport"]

NO_LIMIT = sys.maxsize
"""More bytes than there are."""


class Transport(Protocol):
    """Reads the events and commits micro-batches, each in one transaction."""

    @property
    def partitions(self) -> tuple[int, ...]:
        """Partitions of the events topic that this worker owns, ascending."""
        ...

    @property
    def max_record_bytes(self) -> int:
        """Largest record that the dead-letter topic takes."""
        ...

    def start(self) -> JournalEntry | None:
        """Take over: end the worker that holds the log now, and begin to read where it committed last.

        Returns:
            The newest journal entry for the events topic, or None when there is none.

        Raises:
            RefusedToStart: it is not clear where to go on.
        """
        ...

    def positions(self) -> dict[int, int]:
        """Return the next offset to be read of every partition; only after `start`."""
        ...

    def poll(self, max_records: int, timeout_seconds: float, max_bytes: int = NO_LIMIT) -> list[Record]:
        """Return at most `max_records` next records, per partition in offset order; may wait for the first.

        The one that comes to `max_bytes` is the last one.

        Raises:
            RefusedToStart: a record that is needed is no longer in the log.
        """
        ...

    def commit(self, records: Sequence[OutRecord], offsets: Mapping[int, int]) -> None:
        """Write the records and commit the offsets (next to be read, per partition), all or nothing.

        Raises:
            FencedError: another worker took over; nothing was written.
            TransactionInDoubt: something failed; what was written is or will be rolled back. In both cases the
                transport must not be used again.
        """
        ...

    def lag(self) -> dict[int, int]:
        """Return the committed records not read yet, per partition.

        Raises:
            BrokerUnreachable: the log did not answer for longer than allowed.
        """
        ...

    def silent_seconds(self) -> float:
        """Return for how long the log has not answered; 0 when it answers."""
        ...

    def close(self) -> None:
        """Disconnect; an open transaction is rolled back."""
        ...


class History(Protocol):
    """Reads again what was committed; changes nothing, and can be used beside a running worker."""

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions of the events topic, ascending."""
        ...

    def newest(self) -> JournalEntry | None:
        """Return the newest journal entry for the events topic, or None."""
        ...

    def entries(self, first_epoch: int) -> Iterator[JournalEntry]:
        """Yield the journal's entries for the events topic that are there, from `first_epoch` on, in their order."""
        ...

    def records(self, entry: JournalEntry) -> list[Record]:
        """Return the records of a batch in (partition, offset) order. Entries are asked for in their order.

        Raises:
            RecordsGone: some are no longer in the log.
        """
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class Published(Protocol):
    """Reads what was published and committed; changes nothing, and can be used beside a running worker."""

    def lists(self) -> Iterator[Record]:
        """Yield the committed records of the recommendations topic that are still there, per partition in order."""
        ...

    def committed(self) -> dict[int, int]:
        """Return the next offset of every partition of the events topic that the group has committed one for."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...
