"""Promises of the encoding: what leaves is what the worker will read, and nothing else leaves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.event_encoding import BadEvent, decode_event, encode_event, encode_record, event_key
from stream.config.settings import EventSettings
from stream.ingest.decode import Decoder
from stream.wire.decisions import Decisions
from stream.wire.event_time import FIRST_TIME_MS, LAST_TIME_MS
from stream.wire.records import Record
from stream.wire.schema import EVENT_TYPES, Event

# 60 characters are at most 240 bytes: within the limit of 256.
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(lambda id: not id.isspace())
finite = st.floats(allow_nan=False, allow_infinity=False)
facts = st.one_of(ids, st.integers(-(2**63), 2**63 - 1), finite, st.booleans(), st.none())
events = st.builds(
    Event,
    user=ids,
    item=ids,
    type=st.sampled_from(EVENT_TYPES),
    ts=st.none() | st.integers(FIRST_TIME_MS, LAST_TIME_MS),
    id=st.none() | ids,
    value=st.none() | finite,
    session=st.none() | ids,
    context=st.none() | st.dictionaries(ids, facts, max_size=5),
)


def event(**fields: Any) -> Event:
    return Event(**({"user": "ana", "item": "film-1", "type": "click"} | fields))


@given(events)
def test_every_good_event_comes_back_as_it_was(sent: Event) -> None:
    assert decode_event(encode_event(sent)) == sent


@given(events)
def test_the_worker_reads_every_event_that_may_leave(sent: Event) -> None:
    record = Record("events", 0, 0, event_key(sent), encode_event(sent), [], FIRST_TIME_MS)

    decoded = Decoder(EventSettings()).decode([record], Decisions(decoded_at_ms=LAST_TIME_MS))

    assert decoded.dead_letters == []
    assert decoded.events == [sent]


def test_the_value_is_json_without_what_was_not_said() -> None:
    assert encode_event(event(ts=1291191960000, value=15.3)) == (
        b'{"user":"ana","item":"film-1","type":"click","ts":1291191960000,"value":15.3}'
    )


def test_the_key_is_the_user_id_in_utf8() -> None:
    assert event_key(event(user="zoë")) == b"zo\xc3\xab"


def test_a_record_is_due_at_its_event_time() -> None:
    record = encode_record(event(ts=1_291_191_960_000))

    assert (record.key, record.due_ms) == (b"ana", 1_291_191_960_000)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": ""}, "user"),
        ({"item": ""}, "item"),
        ({"user": 17850}, "Expected `str`, got `int`"),
        ({"type": "clicked"}, "Invalid enum value 'clicked'"),
        ({"ts": "yesterday"}, "Expected `int | null`, got `str`"),
        ({"ts": -1}, "ts: expected milliseconds since 1970"),
        ({"ts": 0}, "--relative-time"),
        ({"ts": 1_291_191_960}, "it looks like seconds, got 1291191960"),
        ({"user": "  "}, "user: expected more than blanks"),
        ({"ts": 1_291_191_960_000_000}, "it looks like microseconds"),
        ({"value": float("nan")}, "value: expected a finite number, got nan"),
        ({"value": float("inf")}, "value: expected a finite number, got inf"),
        ({"context": {"dwell": float("nan")}}, "context.dwell: expected a finite number"),
        ({"context": {"tags": ["a"]}}, "context"),
        ({"user": "u" * 257}, "user: expected at most 256 bytes (events.max_id_bytes), got 257"),
        ({"user": "ë" * 129}, "user: expected at most 256 bytes (events.max_id_bytes), got 258"),
        ({"id": "i" * 257}, "id: expected at most 256 bytes"),
        ({"user": "\ud800"}, "surrogate"),
        ({"context": {"note": "x" * 300_000}}, "expected at most 262144 bytes of JSON"),
    ],
)
def test_what_the_worker_would_not_read_is_refused_with_the_reason(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadEvent) as refused:
        encode_event(event(**fields))

    assert expected in str(refused.value)


def test_an_id_of_exactly_the_limit_may_leave() -> None:
    assert decode_event(encode_event(event(user="ë" * 128))).user == "ë" * 128


def test_a_message_stays_short_when_the_id_is_not() -> None:
    with pytest.raises(BadEvent) as refused:
        encode_event(event(user="u" * 100_000))

    assert len(str(refused.value)) < 300


def test_bytes_that_are_no_event_are_refused() -> None:
    with pytest.raises(BadEvent, match="not json"):
        decode_event(b"not json")


def test_a_time_too_far_ahead_of_the_clock_is_refused_as_the_worker_would() -> None:
    now_ms = 1_700_000_000_000
    limits = EventSettings(max_future_seconds=60)

    assert encode_event(event(ts=now_ms + 60_000), limits, now_ms=now_ms)
    with pytest.raises(BadEvent, match=r"ts: expected a time at most 60 s ahead of the clock"):
        encode_record(event(ts=now_ms + 60_001), limits, now_ms=now_ms)
