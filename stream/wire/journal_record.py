"""A record of the journal topic as the entry that it holds; `stream/publish.py` writes them."""

import msgspec

from stream.errors import RefusedToStart
from stream.wire.formats import JOURNAL_FORMAT, refuse_newer
from stream.wire.records import Record
from stream.wire.schema import JournalEntry

__all__ = ["read_entry"]


def read_entry(record: Record) -> JournalEntry:
    """Return the entry that a record of the journal topic holds.

    Raises:
        RefusedToStart: it holds something else.
        NewerFormat: it is of a newer format.
    """
    refuse_newer(record, JOURNAL_FORMAT, "record of the journal")
    try:
        return msgspec.json.decode(record.value or b"", type=JournalEntry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedToStart(
            f"{record.topic}[{record.partition}]@{record.offset}: expected a record of the journal, got something else "
            f"({error}): another program writes to this topic, or an older version of Millstream did. Set "
            "topics.journal to a topic of its own"
        ) from error
