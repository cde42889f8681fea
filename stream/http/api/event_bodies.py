"""A request's body becomes records, by the rules of the worker's decoder, or a problem that names what is wrong."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from stream.config.settings import EventSettings
from stream.http.api.problem_details import Problem
from stream.ingest.decode import Decoder
from stream.wire.dead_letters import DeadLetter
from stream.wire.decisions import Decisions
from stream.wire.records import Record

__all__ = ["PostedEvents"]

MAX_ERRORS = 100
"""Most errors in one answer."""


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

    def records(self, body: bytes, now_ms: int) -> list[tuple[bytes, bytes]]:
        """Return key and value of the record of each event, in their order.

        Args:
            body: a JSON object, or an array of them.
            now_ms: the clock that event times in the future are judged by.

        Raises:
            Problem: the body is no JSON, or one event of it is not valid: then none is written.
        """
        posted = _split(body)
        if not 1 <= len(posted.values) <= self._max_events:
            raise Problem("bad-batch", f"expected 1 to {self._max_events} events, got {len(posted.values)}")
        numbered = [Record(self._topic, 0, n, None, value, [], now_ms) for n, value in enumerate(posted.values)]
        decoded = self._decoder.decode(numbered, Decisions(decoded_at_ms=now_ms))
        if decoded.dead_letters:
            raise _bad_events(decoded.dead_letters, is_batch=posted.is_batch)
        return [(event.user.encode(), value) for event, value in zip(decoded.events, posted.values, strict=True)]


def _split(body: bytes) -> _Posted:
    """Return the events as they were written: what they hold beside our fields goes to the log as well."""
    try:
        if body.lstrip(b" \t\r\n").startswith(b"["):
            return _Posted([bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])], True)
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("not-json", f"expected a JSON object (an event) or an array of them in UTF-8: {error}") from None
    return _Posted([body], False)


def _bad_events(dead_letters: Sequence[DeadLetter], *, is_batch: bool) -> Problem:
    errors = [
        {"index": letter.record.offset, "code": letter.code.value, "detail": letter.message}
        for letter in dead_letters[:MAX_ERRORS]
    ]
    first = dead_letters[0]
    where = f"event {first.record.offset}: " if is_batch else ""
    more = f" (and {len(dead_letters) - 1} more)" if len(dead_letters) > 1 else ""
    return Problem("bad-event", f"{where}{first.message}{more}", errors=errors, num_invalid=len(dead_letters))
