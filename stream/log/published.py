"""What is visible from outside, for whoever compares it with what the log leads to: the lists, and the group's offsets.

`stream.log.kafka` has the real one.
"""

from collections.abc import Iterator
from typing import Protocol

from stream.log.memory import MemoryLog
from stream.wire.records import Record

__all__ = ["MemoryPublished", "Published"]


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


class MemoryPublished:
    """What was published to a `MemoryLog`. Satisfies `Published`.

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
