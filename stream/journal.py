"""The journal: what each committed micro-batch was. Here its records are read; `stream/publish.py` writes them."""

import msgspec

from stream.errors import RefusedToStart
from stream.records import Record
from stream.schema import JournalEntry

__all__ = ["read_entry"]


def read_entry(record: Record) -> JournalEntry:
    """Return the entry that a record of the journal topic holds.

    Raises:
        RefusedToStart: it holds something else.
    """
    try:
        return msgspec.json.decode(record.value or b"", type=JournalEntry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedToStart(
            f"{record.topic}[{record.partition}]@{record.offset}: expected a record of the journal, got something else "
            f"({error}): another program writes to this topic, or an older version of Millstream did. Set "
            "topics.journal to a topic of its own"
        ) from error
