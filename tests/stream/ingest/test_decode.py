"""Whatever bytes arrive, they become an event or a dead letter with a stable code, and nothing raises."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config.settings import EventSettings
from stream.ingest.decode import Decoder
from stream.wire.dead_letters import DeadCode
from stream.wire.decisions import Decisions
from stream.wire.records import NO_TIMESTAMP
from stream.wire.schema import MAX_TIME_MS
from tests.support.events import NOW_MS, event_bytes, record

CONFIG = EventSettings(max_value_bytes=1_000, max_id_bytes=8, max_future_seconds=60.0)

BAD = {
    "no value": (None, DeadCode.NULL_VALUE),
    "nothing": (b"", DeadCode.NOT_JSON),
    "no JSON": (b"user=ana", DeadCode.NOT_JSON),
    "half a JSON object": (b'{"user": "ana"', DeadCode.NOT_JSON),
    "two objects": (event_bytes("ana", "a") * 2, DeadCode.NOT_JSON),
    "no UTF-8": (b'{"user": "\xff", "item": "a", "type": "click"}', DeadCode.NOT_JSON),
    "half a surrogate pair": (b'{"user": "\\ud800", "item": "a", "type": "click"}', DeadCode.NOT_JSON),
    "not a number": (b'{"user": "ana", "item": "a", "type": "click", "value": NaN}', DeadCode.NOT_JSON),
    "nine hundred brackets": (b"[" * 900, DeadCode.WRONG_TYPE),
    "a number past the largest": (b'{"user":"ana","item":"a","type":"click","value":1e999}', DeadCode.BAD_NUMBER),
    "a list": (b"[]", DeadCode.WRONG_TYPE),
    "a text": (b'"ana"', DeadCode.WRONG_TYPE),
    "no user": (b'{"item": "a", "type": "click"}', DeadCode.MISSING_FIELD),
    "no item": (b'{"user": "ana", "type": "click"}', DeadCode.MISSING_FIELD),
    "no type": (b'{"user": "ana", "item": "a"}', DeadCode.MISSING_FIELD),
    "null user": (b'{"user": null, "item": "a", "type": "click"}', DeadCode.WRONG_TYPE),
    "a number as user": (b'{"user": 5, "item": "a", "type": "click"}', DeadCode.WRONG_TYPE),
    "a text as time": (event_bytes("ana", "a", ts="now"), DeadCode.WRONG_TYPE),
    "half a millisecond": (event_bytes("ana", "a", ts=1.5), DeadCode.WRONG_TYPE),
    "a nested context": (event_bytes("ana", "a", context={"device": {"os": "ios"}}), DeadCode.WRONG_TYPE),
    "an unknown type": (event_bytes("ana", "a", "teleport"), DeadCode.UNKNOWN_TYPE),
    "an empty user": (event_bytes("", "a"), DeadCode.BAD_ID),
    "an empty item": (event_bytes("ana", ""), DeadCode.BAD_ID),
    "an empty event id": (event_bytes("ana", "a", id=""), DeadCode.BAD_ID),
    "nine bytes of user": (event_bytes("123456789", "a"), DeadCode.BAD_ID),
    "nine bytes in three characters": (event_bytes("ana", "€€€"), DeadCode.BAD_ID),
    "a long session": (event_bytes("ana", "a", session="123456789"), DeadCode.BAD_ID),
    "a time before 1970": (event_bytes("ana", "a", ts=-1), DeadCode.BAD_TIME),
    "a time past the year 9999": (event_bytes("ana", "a", ts=MAX_TIME_MS + 1), DeadCode.BAD_TIME),
    "a time past 64 bits": (event_bytes("ana", "a", ts=10**30), DeadCode.BAD_TIME),
    "a time in ten years": (event_bytes("ana", "a", ts=NOW_MS + 10 * 365 * 86_400_000), DeadCode.FUTURE_TIME),
    "a time one ms too far": (event_bytes("ana", "a", ts=NOW_MS + 60_001), DeadCode.FUTURE_TIME),
    "1001 bytes": (b" " * 1_001, DeadCode.TOO_LARGE),
    "two megabytes": (b"x" * 2_000_000, DeadCode.TOO_LARGE),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_a_dead_letter_with_its_code(name: str) -> None:
    value, code = BAD[name]
    bad = record(value)

    decoded = Decoder(CONFIG).decode([bad], Decisions(decoded_at_ms=NOW_MS))

    assert decoded.events == []
    assert [(letter.record, letter.code) for letter in decoded.dead_letters] == [(bad, code)]
    assert decoded.dead_letters[0].message.startswith(("$", "the record's timestamp"))


def test_every_code_is_reached_by_a_case_above_but_those_of_the_model_and_of_headers() -> None:
    assert {code for _, code in BAD.values()} == set(DeadCode) - {DeadCode.NOT_FINITE, DeadCode.BAD_CLOUD_EVENT}


def test_an_event_that_is_excluded_is_a_dead_letter_and_the_others_are_read() -> None:
    records = [record(event_bytes("ana", "a"), offset=offset) for offset in (6, 7, 8)]

    decoded = Decoder(CONFIG).decode(records, Decisions(decoded_at_ms=NOW_MS, excluded={0: [7]}))

    assert [event.offset for event in decoded.records] == [6, 8]
    assert [(letter.record.offset, letter.code) for letter in decoded.dead_letters] == [(7, DeadCode.NOT_FINITE)]


def test_a_message_never_repeats_what_the_producer_wrote() -> None:
    values = [
        event_bytes("ana", "a", "secret-type"),
        event_bytes("ana", "a", ts="secret"),
        event_bytes("secretsec", "a"),
    ]

    decoded = Decoder(CONFIG).decode([record(value) for value in values], Decisions(decoded_at_ms=NOW_MS))

    assert len(decoded.dead_letters) == 3
    assert not any("secret" in letter.message for letter in decoded.dead_letters)


def test_a_good_event_is_read_whole_and_unknown_fields_are_ignored() -> None:
    value = event_bytes(
        "ana",
        "85123A",
        "cart",
        ts=NOW_MS - 5,
        id="e1",
        value=2.5,
        session="s1",
        context={"device": "ios"},
        colour="red",
    )

    decoded = Decoder(CONFIG).decode([record(value)], Decisions(decoded_at_ms=NOW_MS))

    (event,) = decoded.events
    assert (event.user, event.item, event.type, event.id) == ("ana", "85123A", "cart", "e1")
    assert (event.value, event.session, event.context) == (2.5, "s1", {"device": "ios"})
    assert decoded.times_ms == [NOW_MS - 5]


def test_a_missing_time_is_that_of_the_record() -> None:
    value = b'{"user": "ana", "item": "a", "type": "click"}'

    decoded = Decoder(CONFIG).decode([record(value, timestamp_ms=NOW_MS - 7)], Decisions(decoded_at_ms=NOW_MS))

    assert decoded.times_ms == [NOW_MS - 7]


def test_an_event_without_any_time_is_a_dead_letter() -> None:
    value = b'{"user": "ana", "item": "a", "type": "click"}'

    decoded = Decoder(CONFIG).decode([record(value, timestamp_ms=NO_TIMESTAMP)], Decisions(decoded_at_ms=NOW_MS))

    assert [letter.code for letter in decoded.dead_letters] == [DeadCode.BAD_TIME]


def test_a_written_time_of_minus_one_is_not_called_missing() -> None:
    decoded = Decoder(CONFIG).decode([record(event_bytes("ana", "a", ts=-1))], Decisions(decoded_at_ms=NOW_MS))

    assert [letter.message for letter in decoded.dead_letters] == [f"$.ts: expected milliseconds in 0..{MAX_TIME_MS}"]


def test_the_first_millisecond_of_1970_and_the_allowed_future_are_good_times() -> None:
    values = [event_bytes("ana", "a", ts=0), event_bytes("ana", "a", ts=NOW_MS + 60_000)]

    decoded = Decoder(CONFIG).decode([record(value) for value in values], Decisions(decoded_at_ms=NOW_MS))

    assert decoded.times_ms == [0, NOW_MS + 60_000]


def test_good_and_bad_records_keep_their_order_and_their_positions() -> None:
    records = [
        record(event_bytes("ana", "a"), offset=4),
        record(b"x", offset=5),
        record(event_bytes("ben", "b"), offset=6),
    ]

    decoded = Decoder(CONFIG).decode(records, Decisions(decoded_at_ms=NOW_MS))

    assert [event.user for event in decoded.events] == ["ana", "ben"]
    assert [good.offset for good in decoded.records] == [4, 6]
    assert [letter.record.offset for letter in decoded.dead_letters] == [5]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
event_like = st.fixed_dictionaries(
    {},
    optional={
        name: json_values | st.sampled_from(["ana", "click", 1, 1e300, -1])
        for name in ("user", "item", "type", "ts", "id", "value", "session", "context")
    },
)


@pytest.mark.slow
@given(st.binary(max_size=200) | st.one_of(json_values, event_like).map(lambda v: json.dumps(v).encode()))
def test_any_bytes_become_exactly_one_event_or_one_dead_letter(value: bytes) -> None:
    decoded = Decoder(CONFIG).decode([record(value)], Decisions(decoded_at_ms=NOW_MS))

    assert len(decoded.events) + len(decoded.dead_letters) == 1
    assert len(decoded.events) == len(decoded.records) == len(decoded.times_ms)


@given(
    user=st.text(min_size=1, max_size=2),
    item=st.text(min_size=1, max_size=2),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_event_in_range_is_read_as_it_was_written(user: str, item: str, value: float | None) -> None:
    written = json.dumps({"user": user, "item": item, "type": "view", "ts": 5, "value": value}).encode()
    try:
        (user + item).encode("utf-8")
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text

    decoded = Decoder(CONFIG).decode([record(written)], Decisions(decoded_at_ms=NOW_MS))

    (event,) = decoded.events
    assert (event.user, event.item, event.value) == (user, item, value)
