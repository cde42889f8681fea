"""Dead letters read again: what each says, the event that it was, and the receipt of one that was sent again.

`stream/publish.py` writes the letters. A letter that is sent again stays where it is: beside it, in the same
transaction as the event, goes a receipt, a record of the same topic without a value that names the letter. So everybody
who reads the topic knows which letters are done, and nothing else has to be kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from stream.wire.formats import DEAD_LETTER_FORMAT, refuse_newer
from stream.wire.records import NO_TIMESTAMP, Headers, OutRecord, Record
from stream.wire.schema import ERROR_PREFIX, REPLAY_PREFIX

__all__ = [
    "DeadCode",
    "DeadLetter",
    "LetterId",
    "StoredDeadLetter",
    "read_letter",
    "read_receipt",
    "receipt",
    "replayed",
]

LetterId = tuple[int, int]
"""Partition and offset in the dead-letter topic."""

_CODE = f"{ERROR_PREFIX}code"
_FORMAT = f"{ERROR_PREFIX}format"
_OF = f"{REPLAY_PREFIX}of"
_TIMES = f"{REPLAY_PREFIX}times"


class DeadCode(StrEnum):
    """Why a record went to the dead-letter topic."""

    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_TYPE = "unknown_type"
    BAD_ID = "bad_id"
    BAD_NUMBER = "bad_number"
    BAD_TIME = "bad_time"
    FUTURE_TIME = "future_time"
    NOT_FINITE = "not_finite"
    BAD_CLOUD_EVENT = "bad_cloud_event"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be read.

    `message` says where and what was expected; it never repeats the value, which may be personal data.
    """

    record: Record
    code: DeadCode
    message: str


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """One dead letter: the record that could not be read, and why."""

    place: LetterId
    time_ms: int
    """The letter's own timestamp: the event's, or where that was a day old or more, the time of writing."""
    code: str
    message: str
    app: str
    version: str
    event: Record
    """As it was read from the events topic, but for `truncated_from_bytes`."""
    truncated_from_bytes: int | None = None
    """Length of the whole value, where the letter holds only a part of the record."""
    num_replays: int = 0
    """How often the event had been sent again before this letter was written."""

    @property
    def id(self) -> str:
        """What people call it: partition@offset."""
        return f"{self.place[0]}@{self.place[1]}"

    def of(self, whole: Record) -> "StoredDeadLetter | None":
        """Return the letter with the whole record for its part, or None when the part is not one of that record."""
        part = self.event.value or b""
        if not (whole.value or b"").startswith(part) or len(whole.value or b"") != self.truncated_from_bytes:
            return None
        return replace(self, event=whole, truncated_from_bytes=None)


def read_letter(record: Record) -> StoredDeadLetter | None:
    """Return the letter that a record of the dead-letter topic holds, or None when it is none.

    What came with the event is not trusted: a producer may have set headers that look like ours, so only those from the
    last code on count, and the worker wrote them.

    Raises:
        NewerFormat: it is of a newer format.
    """
    names = [name for name, _ in record.headers]
    if _CODE not in names:
        return None
    ours = len(names) - 1 - names[::-1].index(_CODE)
    refuse_newer(record._replace(headers=record.headers[ours:]), DEAD_LETTER_FORMAT, "dead letter", _FORMAT)
    facts = {name.removeprefix(ERROR_PREFIX): _text(value) for name, value in record.headers[ours:]}
    try:
        event = Record(
            facts["topic"],
            int(facts["partition"]),
            int(facts["offset"]),
            record.key,
            record.value,
            [header for header in record.headers[:ours] if not header[0].startswith(ERROR_PREFIX)],
            int(facts["timestamp"]),
        )
        truncated = int(facts["truncated_from_bytes"]) if "truncated_from_bytes" in facts else None
    except (KeyError, ValueError):
        return None
    return StoredDeadLetter(
        place=(record.partition, record.offset),
        time_ms=record.timestamp_ms,
        code=facts["code"],
        message=facts.get("message", ""),
        app=facts.get("app", ""),
        version=facts.get("version", ""),
        event=event,
        truncated_from_bytes=truncated,
        num_replays=_num_replays(event.headers),
    )


def read_receipt(record: Record) -> LetterId | None:
    """Return the letter that a record of the dead-letter topic is a receipt for, or None when it is none."""
    headers = dict(record.headers)
    if record.value is not None or _CODE in headers:
        return None
    partition, _, offset = _text(headers.get(_OF)).rpartition("[")[2].partition("]@")
    return (int(partition), int(offset)) if partition.isdecimal() and offset.isdecimal() else None


def replayed(letter: StoredDeadLetter, topic: str, num_partitions: int) -> OutRecord:
    """Return the event as it was, to be sent to the partition that it was in.

    Two headers are new: which letter it comes from, and how often the event has been sent again by now.

    Args:
        letter: what to send again.
        topic: the dead-letter topic, for the mark.
        num_partitions: of the events topic; an event of a partition that is gone goes where its key sends it.
    """
    event = letter.event
    kept = [header for header in event.headers if not header[0].startswith(REPLAY_PREFIX)]
    marks = {_OF: f"{topic}[{letter.place[0]}]@{letter.place[1]}", _TIMES: str(letter.num_replays + 1)}
    return OutRecord(
        event.topic,
        event.key,
        event.value,
        [*((name, value or b"") for name, value in kept), *_headers(marks)],
        None if event.timestamp_ms == NO_TIMESTAMP else event.timestamp_ms,
        event.partition if event.partition < num_partitions else None,
    )


def receipt(letter: StoredDeadLetter, topic: str) -> OutRecord:
    """Return the record that says in the dead-letter topic that this letter was sent again."""
    marks = {_OF: f"{topic}[{letter.place[0]}]@{letter.place[1]}", _TIMES: str(letter.num_replays + 1)}
    key = f"replayed:{letter.id}".encode("ascii")  # not the event's: the topic may be compacted, and this has no value
    return OutRecord(topic, key, None, _headers(marks), None, letter.place[0])


def _headers(facts: Mapping[str, str]) -> Headers:
    return [(name, text.encode("ascii")) for name, text in facts.items()]


def _num_replays(headers: Headers) -> int:
    text = _text(dict(headers).get(_TIMES))
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", errors="backslashreplace")
