"""CloudEvents 1.0 over Kafka: what the envelope says, when an event comes in one.

Two modes, told apart by the header `content-type` alone: *structured* (`application/cloudevents+json`, the value is the
envelope and our event its `data`) and *binary* (the value is our event, the envelope's attributes are headers `ce_…`).
What a header decides is part of the record's hash (`decisive_headers`): what is learned stays a function of the log.

Source: CloudEvents 1.0.2, Kafka Protocol Binding, sections 3.2 and 3.3. What we do not use is not looked at.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from stream.wire.records import Headers, Record

__all__ = ["BadCloudEvent", "CloudEvent", "cloud_event_of", "decisive_headers", "time_ms_of"]

REQUIRED = ("id", "source", "specversion", "type")
PREFIX = "ce_"
CONTENT_TYPE = "content-type"
FAMILY = b"application/cloudevents"
STRUCTURED_JSON = b"application/cloudevents+json"
DECISIVE = frozenset(PREFIX + name for name in (*REQUIRED, "time"))
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class BadCloudEvent(Exception):
    """The record says that it is a CloudEvent and is none that we can read; the message never repeats its content."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """What of an envelope matters here."""

    unique_id: str
    """Source and id: the two together name an event, so they are its id when it has none of its own."""
    time: str | None
    """When it happened, as it was written: see `time_ms_of`."""
    data: bytes | None
    """JSON of our event; None: the record has no value."""
    data_path: str
    """Where the data is in the record's value, as `$` or `$.data`."""
    time_path: str
    """What a message calls the time."""


def decisive_headers(record: Record) -> Headers:
    """Return the headers that can change what is learned from a record: none but those of a CloudEvent."""
    return [
        (name, value)
        for name, value in record.headers
        if name in DECISIVE or (name == CONTENT_TYPE and (value or b"").lower().startswith(FAMILY))
    ]


def cloud_event_of(record: Record) -> CloudEvent | None:
    """Return the envelope of a record, or None when it comes in none.

    Raises:
        BadCloudEvent: it is another kind of CloudEvent, or an attribute is missing.
        msgspec.MsgspecError: a structured one that is not JSON.
    """
    headers = dict(decisive_headers(record))  # of a header that is there twice the last one counts
    if content_type := (headers.pop(CONTENT_TYPE, None) or b"").lower():
        return _structured(content_type, record.value)
    if PREFIX + "specversion" not in headers:
        return None
    attributes = {name.removeprefix(PREFIX): _text(name, value) for name, value in headers.items()}
    return _envelope(attributes, PREFIX, record.value, "$")


def time_ms_of(text: str, path: str) -> int:
    """Return an RFC 3339 time as milliseconds since 1970; what is finer is cut off.

    Raises:
        BadCloudEvent: it is none.
    """
    try:
        if _RFC3339.fullmatch(text):
            return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):  # such as a month of 32 days
        pass
    raise BadCloudEvent(f"{path}: expected a time in RFC 3339, such as 2025-11-22T09:30:00Z")


def _structured(content_type: bytes, value: bytes | None) -> CloudEvent:
    if content_type.partition(b";")[0].strip() != STRUCTURED_JSON:
        raise BadCloudEvent(
            f"{CONTENT_TYPE}: expected {STRUCTURED_JSON.decode()} (one event; no batch, Avro or Protobuf), or headers "
            f"{PREFIX}… beside the plain event"
        )
    if value is None:
        raise BadCloudEvent("$: expected the JSON of a CloudEvent, got no value")
    fields: dict[str, msgspec.Raw] = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    if "data" not in fields:
        raise BadCloudEvent("$.data: expected the event as JSON" + (", not base64" if "data_base64" in fields else ""))
    attributes = {name: _json_text(name, fields[name]) for name in (*REQUIRED, "time") if name in fields}
    return _envelope(attributes, "$.", bytes(fields["data"]), "$.data")


def _envelope(attributes: dict[str, str | None], prefix: str, data: bytes | None, data_path: str) -> CloudEvent:
    for name in REQUIRED:
        if not attributes.get(name):
            raise BadCloudEvent(f"{prefix}{name}: expected a value, got none; a CloudEvent has {', '.join(REQUIRED)}")
    if attributes["specversion"] != "1.0":
        raise BadCloudEvent(f"{prefix}specversion: expected 1.0")
    if any(c.isspace() for c in attributes["source"] or ""):  # the blank between source and id stays the only one
        raise BadCloudEvent(f"{prefix}source: expected a URI reference, which has no blanks")
    unique_id = f"{attributes['source']} {attributes['id']}"
    return CloudEvent(unique_id, attributes.get("time"), data, data_path, f"{prefix}time")


def _text(name: str, value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCloudEvent(f"{name}: expected text in UTF-8") from None


def _json_text(name: str, raw: msgspec.Raw) -> str | None:
    value: Any = msgspec.json.decode(raw)
    if value is not None and not isinstance(value, str):
        raise BadCloudEvent(f"$.{name}: expected a text")
    return value
