"""A record of the journal topic as the entry that it holds; `stream/publish.py` writes them.

Others may write to the topic by mistake. What has neither our key nor our shape is passed over, and counted: the chain
proves that nothing of ours is missing.
"""

import msgspec

from stream.errors import RefusedToStart
from stream.wire.formats import JOURNAL_FORMAT, refuse_newer
from stream.wire.records import Record
from stream.wire.schema import JournalEntry

__all__ = ["ForeignRecords", "read_entry"]

_OURS = {"epoch", "chain", "positions"}
"""An object with these is a journal entry of some version, and none of ours to ignore."""


class ForeignRecords:
    """Reads entries of one events topic, and counts the records of the journal topic that are no entries.

    Args:
        events: name of the events topic.
    """

    def __init__(self, events: str) -> None:
        self._events = events
        self._newest: dict[int, int] = {}
        self.count = 0
        """Each record once, as long as they are read in order or again from an earlier one."""

    def entry(self, record: Record) -> JournalEntry | None:
        """Return the entry that the record holds, or None: it is foreign, or of another events topic."""
        found = read_entry(record)
        if found is None and record.offset > self._newest.get(record.partition, -1):
            self._newest[record.partition] = record.offset
            self.count += 1
        return found if found is not None and found.topic == self._events else None


def read_entry(record: Record) -> JournalEntry | None:
    """Return the entry that a record of the journal topic holds; None: it is none of ours.

    Raises:
        RefusedToStart: it is one that cannot be read.
        NewerFormat: it is of a newer format.
    """
    refuse_newer(record, JOURNAL_FORMAT, "record of the journal")
    try:
        entry = msgspec.json.decode(record.value or b"", type=JournalEntry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _looks_like_ours(record.value or b""):
            raise RefusedToStart(
                f"{record.topic}[{record.partition}]@{record.offset}: expected a record of the journal, got one that "
                f"cannot be read ({error}): another version of Millstream wrote it. Use that version, or set "
                "topics.journal to a topic of its own"
            ) from error
        return None
    return entry if record.key == entry.app.encode("utf-8") else None


def _looks_like_ours(value: bytes) -> bool:
    try:
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return fields.keys() >= _OURS
