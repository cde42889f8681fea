"""When a micro-batch closes: full of records or of bytes, or its oldest record has waited long enough."""

from collections.abc import Callable, Sequence

from stream.config.settings import BatchingSettings
from stream.wire.records import Record, size_bytes

__all__ = ["MicroBatcher"]


class MicroBatcher:
    """Gathers records until a batch is due.

    Args:
        config: the limits.
        clock: monotonic seconds.
    """

    def __init__(self, config: BatchingSettings, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._records: list[Record] = []
        self._num_bytes = 0
        self._opened = 0.0

    def add(self, records: Sequence[Record]) -> None:
        """Take records into the open batch; the first one starts its clock."""
        if records and not self._records:
            self._opened = self._clock()
        self._records.extend(records)
        self._num_bytes += sum(map(size_bytes, records))

    def room(self) -> int:
        """Return how many more records the batch takes."""
        return self._config.max_events - len(self._records)

    def room_bytes(self) -> int:
        """Return how many more bytes it takes to fill the batch; at least 1 where it is not full."""
        return self._config.max_bytes - self._num_bytes

    def is_full(self) -> bool:
        """Return whether the batch takes no more, whatever its age."""
        return self.room() <= 0 or self.room_bytes() <= 0

    def remaining_seconds(self) -> float:
        """Return how long the batch may still wait; all of the delay while it is empty."""
        if not self._records:
            return self._config.max_delay_seconds
        return max(0.0, self._config.max_delay_seconds - (self._clock() - self._opened))

    def is_due(self) -> bool:
        """Return True when the batch is to be closed now. An empty one never is."""
        return bool(self._records) and (self.is_full() or self.remaining_seconds() <= 0)

    def take(self) -> list[Record]:
        """Close the batch and return its records in (partition, offset) order."""
        records, self._records, self._num_bytes = self._records, [], 0
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def __len__(self) -> int:
        return len(self._records)
