"""Bytes become events, or dead letters with a code that never changes its meaning.

Nothing here raises for a bad record: what cannot be read is described and goes on to the dead-letter topic.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from stream.config.settings import EventSettings
from stream.wire.cloud_events import BadCloudEvent, CloudEvent, cloud_event_of, time_ms_of
from stream.wire.dead_letters import DeadCode, DeadLetter
from stream.wire.decisions import Decisions
from stream.wire.event_time import time_problem
from stream.wire.fingerprint import add_hashes, record_hash
from stream.wire.foreign_values import is_lost_cloud_event, object_hint, text_hint
from stream.wire.ids import id_problem
from stream.wire.records import NO_TIMESTAMP, Record
from stream.wire.schema import Event

__all__ = ["DECODE_VERSION", "Decoded", "Decoder"]

DECODE_VERSION = 2
"""Goes up when the same record would become another event or another dead letter, or when other events would count as
repetitions. It stands in every journal record: no batch is learned again by other rules than it was committed by.

2: times of 1973 to 5138 alone; no ids of blanks alone; another event under a known id is no repetition of it.
"""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The readable events of a batch, each with its record, its hash and its event time; and the dead letters."""

    events: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    records_hash: int = 0
    """Multiset hash of all records of the batch, dead letters too."""


class _Rejected(Exception):
    def __init__(self, code: DeadCode, message: str) -> None:
        self.code = code
        self.message = message


class Decoder:
    """Reads records as events.

    Args:
        config: limits of a good event.
    """

    def __init__(self, config: EventSettings) -> None:
        self._config = config
        self._decoder = msgspec.json.Decoder(Event)

    def decode(self, records: Sequence[Record], decisions: Decisions) -> Decoded:
        """Return events and dead letters, both in the order of the records, each record hashed.

        Args:
            records: as read from the log.
            decisions: the clock that event times in the future are judged by, and the events that are left out.
        """
        hashes = list(map(record_hash, records))
        decoded = Decoded(records_hash=add_hashes(0, hashes))
        for record, hashed in zip(records, hashes, strict=True):
            try:
                event, time_ms = self._read(record, decisions.decoded_at_ms)
                if decisions.excludes(record.partition, record.offset):
                    raise _Rejected(DeadCode.NOT_FINITE, "$: expected an event after which the model's loss is finite")
            except _Rejected as rejected:
                decoded.dead_letters.append(DeadLetter(record, rejected.code, rejected.message))
                continue
            decoded.events.append(event)
            decoded.records.append(record)
            decoded.hashes.append(hashed)
            decoded.times_ms.append(time_ms)
        return decoded

    def _read(self, record: Record, now_ms: int) -> tuple[Event, int]:
        self._check_size(record.value)
        cloud = self._envelope(record) if record.headers else None
        event = self._parse(record.value) if cloud is None else self._parse(cloud.data, cloud.data_path)
        self._check_ids(event)
        if cloud is not None and event.id is None:
            event = self._named(event, cloud)
        if event.ts is not None:
            return event, self._checked_time(event.ts, now_ms, "$.ts")
        if cloud is not None and cloud.time is not None:
            return event, self._checked_time(_time_of(cloud), now_ms, cloud.time_path)
        if record.timestamp_ms == NO_TIMESTAMP:
            raise _Rejected(DeadCode.BAD_TIME, "$.ts: expected milliseconds since 1970, or a timestamp of the record")
        return event, self._checked_time(record.timestamp_ms, now_ms, "the record's timestamp")

    def _check_size(self, value: bytes | None) -> None:
        if value is None:
            raise _Rejected(DeadCode.NULL_VALUE, "$: expected a JSON object, got no value")
        if len(value) > self._config.max_value_bytes:
            expected = f"expected at most {self._config.max_value_bytes} bytes, got {len(value)}"
            raise _Rejected(DeadCode.TOO_LARGE, f"$: {expected} (events.max_value_bytes)")

    def _envelope(self, record: Record) -> CloudEvent | None:
        try:
            return cloud_event_of(record)
        except BadCloudEvent as error:
            raise _Rejected(DeadCode.BAD_CLOUD_EVENT, str(error)) from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            hint = text_hint(record.value or b"", error)
            raise _Rejected(DeadCode.NOT_JSON, f"$: expected a CloudEvent, one JSON object in UTF-8; {hint}") from None

    def _parse(self, value: bytes | None, path: str = "$") -> Event:
        try:
            return self._decoder.decode(value or b"")
        except msgspec.ValidationError as error:
            raise _no_event(value or b"", str(error), path) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = text_hint(value or b"", error)
            raise _Rejected(DeadCode.NOT_JSON, f"{path}: expected one JSON object in UTF-8; {hint}") from None

    def _named(self, event: Event, cloud: CloudEvent) -> Event:
        limit = self._config.max_id_bytes
        if len(cloud.unique_id.encode("utf-8")) > limit:
            expected = f"expected at most {limit} bytes together (events.max_id_bytes), or an id in the event"
            raise _Rejected(DeadCode.BAD_ID, f"source and id of the CloudEvent: {expected}")
        return msgspec.structs.replace(event, id=cloud.unique_id)

    def _check_ids(self, event: Event) -> None:
        limit = self._config.max_id_bytes
        for name, text in (("user", event.user), ("item", event.item), ("id", event.id), ("session", event.session)):
            if text and (problem := id_problem(text, limit)):
                raise _Rejected(DeadCode.BAD_ID, f"$.{name}: {problem}")

    def _checked_time(self, time_ms: int, now_ms: int, where: str) -> int:
        if problem := time_problem(time_ms):
            raise _Rejected(DeadCode.BAD_TIME, f"{where}: {problem}")
        ahead_seconds = (time_ms - now_ms) / 1000
        if ahead_seconds > self._config.max_future_seconds:
            limit = f"at most {self._config.max_future_seconds:g} s ahead of the worker's clock"
            raise _Rejected(DeadCode.FUTURE_TIME, f"{where}: expected {limit}, got {ahead_seconds:.0f} s")
        return time_ms


def _time_of(cloud: CloudEvent) -> int:
    try:
        return time_ms_of(cloud.time or "", cloud.time_path)
    except BadCloudEvent as error:
        raise _Rejected(DeadCode.BAD_TIME, str(error)) from None


_PATH = re.compile(r"`(\$[^`]*)`$")
_FIELD = re.compile(r"required field `(\w+)`")


def _no_event(value: bytes, message: str, path: str) -> _Rejected:
    """Return the rejection of JSON that is no event, with what it is instead where that can be seen."""
    if is_lost_cloud_event(value):
        said = "expected an event, got a CloudEvent without its header content-type: application/cloudevents+json"
        return _Rejected(DeadCode.BAD_CLOUD_EVENT, f"{path}: {said}")
    rejected, hint = _classified(message), object_hint(value)
    told = path + rejected.message.removeprefix("$")
    return _Rejected(rejected.code, f"{told}; {hint}" if hint else told)


def _classified(message: str) -> _Rejected:
    """Return the rejection for a validation message of msgspec, without the value that some of them repeat."""
    match = _PATH.search(message)
    path = match.group(1) if match else "$"
    if missing := _FIELD.search(message):
        return _Rejected(DeadCode.MISSING_FIELD, f"{path}.{missing.group(1)}: expected a value, got none")
    if message.startswith("Invalid enum value"):
        return _Rejected(DeadCode.UNKNOWN_TYPE, f"{path}: expected a known event type (docs/schemas/event.schema.json)")
    if "of length >=" in message:
        return _Rejected(DeadCode.BAD_ID, f"{path}: expected a text that is not empty")
    if message.startswith("Number out of range"):
        return _Rejected(DeadCode.BAD_NUMBER, f"{path}: expected a finite number")
    return _Rejected(DeadCode.WRONG_TYPE, f"{path}: {message.split(' - at ')[0].replace('`', '').lower()}")
