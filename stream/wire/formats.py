"""The formats of the records that Millstream writes: each record says its own in a header.

It is a header, so that values, and the hashes over them, stay what they are. A format goes up when whoever knows the
one before would misread the value; a new field that can be ignored does not change it. Checkpoints have a
`format_version` in their manifest.
"""

from stream.errors import RefusedToStart
from stream.wire.records import Headers, Record

__all__ = [
    "DEAD_LETTER_FORMAT",
    "FORMAT_HEADER",
    "JOURNAL_FORMAT",
    "LIST_FORMAT",
    "NewerFormat",
    "format_header",
    "refuse_newer",
]

JOURNAL_FORMAT = 1
LIST_FORMAT = 1
DEAD_LETTER_FORMAT = 1
"""Of what the header `millstream.error.…` say; the value is the event's."""

FORMAT_HEADER = "millstream.format"
_MOST_DIGITS = 9
_BEFORE_IT_WAS_TOLD = b"1"
"""The format of records without the header."""


class NewerFormat(RefusedToStart):
    """A newer Millstream wrote this record, in a format that this one does not know."""


def format_header(number: int) -> Headers:
    """Return the header that says the format of a journal record or a list."""
    return [(FORMAT_HEADER, str(number).encode())]


def refuse_newer(record: Record, known: int, what: str, header: str = FORMAT_HEADER) -> None:
    """Return if the record is of a format that is known.

    Args:
        record: as read; without the header it is of the first format.
        known: the newest format that is known here.
        what: what the record should be, for the message.
        header: the name of the header that tells.

    Raises:
        NewerFormat: it is of a newer format. What is no number is not ours; the value will show what it is.
    """
    told = dict(record.headers).get(header) or _BEFORE_IT_WAS_TOLD
    number = int(told) if told.isdigit() and len(told) <= _MOST_DIGITS else 0
    if number > known:
        raise NewerFormat(
            f"{record.topic}[{record.partition}]@{record.offset}: expected a {what} of format {known} or older, got "
            f"format {number}: a newer Millstream wrote it. Upgrade this one first (docs/upgrade.md has the order)"
        )
