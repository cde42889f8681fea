"""A request's body becomes records, by the rules of the worker's decoder, or a problem that names what is wrong."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream.config.settings import EventSettings
from stream.http.api.event_envelopes import PLAIN, Envelope
from stream.http.api.problem_details import Problem
from stream.ingest.decode import Decoder
from stream.wire.dead_letters import DeadLetter
from stream.wire.decisions import Decisions
from stream.wire.foreign_values import text_hint
from stream.wire.records import Headers, Record

__all__ = ["PostedEvents", "PostedRecord"]

MAX_ERRORS = 100
"""Most errors in one answer."""


class PostedRecord(NamedTuple):
    """A record of the events topic, to be written."""

    key: bytes
    value: bytes
    headers: Headers


class _Posted(NamedTuple):
    values: list[bytes]
    is_batch: bool


class PostedEvents:
    """Reads bodies.

    Args:
        config: limits of a good event; those of the worker.
        max_events: most events in one body.
        topic: of the events, for the decoder.
    """

    def __init__(self, config: EventSettings, max_events: int, topic: str) -> None:
        self._decoder = Decoder(config)
        self._max_events = max_events
        self._topic = topic

    def records(self, body: bytes, now_ms: int, envelope: Envelope = PLAIN) -> list[PostedRecord]:
        """Return the record of each event, in their order.

        Args:
            body: a JSON object, or an array of them.
            now_ms: the clock that event times in the future are judged by.
            envelope: what the headers of the request say of the body.

        Raises:
            Problem: the body is no JSON, or one event of it is not valid: then none is written.
        """
        posted = _split(body)
        if not 1 <= len(posted.values) <= self._max_events:
            raise Problem("bad-batch", f"expected 1 to {self._max_events} events, got {len(posted.values)}")
        if envelope.is_batch is not None and envelope.is_batch != posted.is_batch:
            expected = "an array of CloudEvents" if envelope.is_batch else "one event in the envelope of a CloudEvent"
            raise Problem("bad-batch", f"expected {expected}, got {'an array' if posted.is_batch else 'no array'}")
        headers = envelope.headers
        numbered = [Record(self._topic, 0, n, None, value, headers, now_ms) for n, value in enumerate(posted.values)]
        decoded = self._decoder.decode(numbered, Decisions(decoded_at_ms=now_ms))
        if decoded.dead_letters:
            raise _bad_events(decoded.dead_letters, is_batch=posted.is_batch)
        pairs = zip(decoded.events, posted.values, strict=True)
        return [PostedRecord(event.user.encode(), value, headers) for event, value in pairs]


def _split(body: bytes) -> _Posted:
    """Return the events as they were written: what they hold besides our fields goes to the log as well."""
    try:
        if body.lstrip(b" \t\r\n").startswith(b"["):
            return _Posted([bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])], True)
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        expected = "expected a JSON object (an event) or an array of them in UTF-8"
        raise Problem("not-json", f"{expected}; {text_hint(body, error)}") from None
    return _Posted([body], False)


def _bad_events(dead_letters: Sequence[DeadLetter], *, is_batch: bool) -> Problem:
    errors = [
        {"index": letter.record.offset, "code": letter.code.value, "detail": _as_http(letter.message)}
        for letter in dead_letters[:MAX_ERRORS]
    ]
    first = dead_letters[0]
    where = f"event {first.record.offset}: " if is_batch else ""
    more = f" (and {len(dead_letters) - 1} more)" if len(dead_letters) > 1 else ""
    return Problem("bad-event", f"{where}{_as_http(first.message)}{more}", errors=errors, num_invalid=len(dead_letters))


def _as_http(message: str) -> str:
    """Return the message with headers called as they came, which are `ce_…` over Kafka."""
    return "ce-" + message[3:] if message.startswith("ce_") else message
