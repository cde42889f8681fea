"""An event becomes the key and the value of a record, or is refused while the sender can still put it right.

The worker would move a bad event to the dead-letter topic; here it is an error with a reason. What counts as a good
event is said once, by `stream.wire.schema.Event`: what was encoded is decoded again with it. Only what JSON cannot show
(NaN becomes null) and the sizes are looked at here.
"""

import math
from typing import Any, NamedTuple

import msgspec

from stream.config.settings import EventSettings
from stream.errors import ConfigError
from stream.wire.event_time import time_problem
from stream.wire.ids import id_problem
from stream.wire.schema import Event

__all__ = [
    "BadEvent",
    "DEFAULT_LIMITS",
    "OutgoingRecord",
    "decode_event",
    "encode_event",
    "encode_record",
    "event_key",
]

DEFAULT_LIMITS = EventSettings()
"""The limits of a worker whose settings were left alone."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


class BadEvent(ConfigError):
    """An event that the worker would not learn from. Nothing was sent."""


class OutgoingRecord(NamedTuple):
    """Key and value as they go to Kafka, and the time that decides when, ms (None: no matter when)."""

    key: bytes
    value: bytes
    due_ms: int | None


def encode_record(event: Event, limits: EventSettings = DEFAULT_LIMITS, *, now_ms: int | None = None) -> OutgoingRecord:
    """Return the record of an event, due at its event time.

    Raises:
        BadEvent: see `encode_event`.
    """
    value = encode_event(event, limits, now_ms=now_ms)
    return OutgoingRecord(event_key(event), value, event.ts)


def encode_event(event: Event, limits: EventSettings = DEFAULT_LIMITS, *, now_ms: int | None = None) -> bytes:
    """Return the record value of an event: UTF-8 JSON without the fields that are at their default.

    Args:
        event: built in Python, so its fields may still hold anything.
        limits: what the worker will accept.
        now_ms: the clock, for the limit of times in the future; None: that is left to the worker.

    Raises:
        BadEvent: a field has the wrong type or range, an id or the whole value is too long.
    """
    _check_finite(event)
    if isinstance(event.ts, int) and (problem := time_problem(event.ts)):
        raise BadEvent(f"event {_shown(event)}: ts: {problem}, got {event.ts}")
    if now_ms is not None:
        _check_future(event, now_ms, limits)
    try:
        value = _encoder.encode(event)
        _decoder.decode(value)
    except UnicodeEncodeError as error:
        text = error.object[error.start : error.end]
        raise BadEvent(f"event {_shown(event)}: expected text in UTF-8, got the surrogate {text!r:.20}") from error
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise BadEvent(f"event {_shown(event)}: {error}") from error
    _check_sizes(event, value, limits)
    return value


def event_key(event: Event) -> bytes:
    """Return the record key: the user id, so that the events of one user keep their order in one partition."""
    return event.user.encode()


def decode_event(value: bytes) -> Event:
    """Return the event in a record value.

    Raises:
        BadEvent: the bytes are not the JSON of an event.
    """
    try:
        return _decoder.decode(value)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadEvent(f"record value {value[:80]!r}: {error}") from error


def _check_finite(event: Event) -> None:
    numbers: dict[str, Any] = {"value": event.value}
    if isinstance(event.context, dict):
        numbers.update({f"context.{key}": number for key, number in event.context.items()})
    for name, number in numbers.items():
        if isinstance(number, float) and not math.isfinite(number):
            raise BadEvent(f"event {_shown(event)}: {name}: expected a finite number, got {number}")


def _check_future(event: Event, now_ms: int, limits: EventSettings) -> None:
    if isinstance(event.ts, int) and event.ts - now_ms > limits.max_future_seconds * 1000:
        raise BadEvent(
            f"event {_shown(event)}: ts: expected a time at most {limits.max_future_seconds:g} s ahead of the clock "
            f"(events.max_future_seconds), got {event.ts}, which is {(event.ts - now_ms) / 1000:,.0f} s ahead"
        )


def _check_sizes(event: Event, value: bytes, limits: EventSettings) -> None:
    for name in ("user", "item", "id", "session"):
        text: str | None = getattr(event, name)
        if text and (problem := id_problem(text, limits.max_id_bytes)):
            raise BadEvent(f"event {_shown(event)}: {name}: {problem}")
    if len(value) > limits.max_value_bytes:
        raise BadEvent(
            f"event {_shown(event)}: expected at most {limits.max_value_bytes} bytes of JSON, got {len(value)}"
        )


def _shown(event: Event) -> str:
    """Return enough of an event to find it again, however long its fields are."""
    fields: dict[str, Any] = {name: getattr(event, name) for name in ("user", "item", "type")}
    return " ".join(f"{name}={value!r:.60}" for name, value in fields.items())
