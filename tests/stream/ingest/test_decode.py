"""Whatever bytes arrive, they become an event or a dead letter with a stable code, and nothing raises."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.config.settings import EventSettings
from stream.ingest.decode import Decoder
from stream.wire.dead_letters import DeadCode
from stream.wire.decisions import Decisions
from stream.wire.event_time import FIRST_TIME_MS
from stream.wire.records import NO_TIMESTAMP
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
    "a time of zero": (event_bytes("ana", "a", ts=0), DeadCode.BAD_TIME),
    "a time in seconds": (event_bytes("ana", "a", ts=NOW_MS // 1000), DeadCode.BAD_TIME),
    "a time in microseconds": (event_bytes("ana", "a", ts=NOW_MS * 1000), DeadCode.BAD_TIME),
    "a time in nanoseconds": (event_bytes("ana", "a", ts=NOW_MS * 1_000_000), DeadCode.BAD_TIME),
    "blanks as user": (event_bytes("  ", "a"), DeadCode.BAD_ID),
    "blanks as event id": (event_bytes("ana", "a", id="\t"), DeadCode.BAD_ID),
    "a CloudEvent without its header": (
        b'{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"user":"ana","item":"a","type":"click"}}',
        DeadCode.BAD_CLOUD_EVENT,
    ),
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


def test_every_code_is_reached_by_a_case_above_but_that_of_the_model() -> None:
    assert {code for _, code in BAD.values()} == set(DeadCode) - {DeadCode.NOT_FINITE}


EVENT = b'{"user":"ana","item":"a","type":"click"}'
SAID = {
    "seconds": (
        event_bytes("ana", "a", ts=NOW_MS // 1000),
        "$.ts: expected milliseconds since 1970, and it looks like seconds",
    ),
    "microseconds": (event_bytes("ana", "a", ts=NOW_MS * 1000), "looks like microseconds"),
    "relative time": (event_bytes("ana", "a", ts=7), "--relative-time"),
    "schema registry": (b"\x00\x00\x00\x00\x2a" + EVENT, "header of a schema registry"),
    "gzip": (gzip.compress(EVENT), "compressed with gzip"),
    "zstd": (b"\x28\xb5\x2f\xfd\x20", "compressed with zstd"),
    "bzip2": (b"BZh91AY", "compressed with bzip2"),
    "byte-order mark": (b"\xef\xbb\xbf" + EVENT, "byte-order mark of UTF-8"),
    "UTF-16 with its mark": (EVENT.decode().encode("utf-16"), "byte-order mark of UTF-16"),
    "UTF-16 without": (EVENT.decode().encode("utf-16-le"), "it is UTF-16"),
    "Latin-1": ('{"user":"zoë","item":"a","type":"click"}'.encode("latin-1"), "byte 11 is no UTF-8"),
    "two events on two lines": (EVENT + b"\n" + EVENT, "on (one event a record)"),
    "a dict of Python": (b"{'user': 'ana'}", "json.dumps"),
    "no bytes": (b"", "it is empty"),
    "Avro": (b"Obj\x01\x04", "it is Avro"),
    "an array": (b"[" + EVENT + b"]", "it is an array: one event a record"),
    "encoded twice": (json.dumps(EVENT.decode()).encode(), "encoded twice"),
    "Kafka Connect": (b'{"schema":{"type":"struct"},"payload":' + EVENT + b"}", "value.converter.schemas.enable=false"),
    "Debezium": (b'{"before":null,"after":' + EVENT + b',"op":"c"}', "ExtractNewRecordState"),
    "Debezium in Connect": (b'{"schema":{},"payload":{"before":null,"after":' + EVENT + b',"op":"c"}}', "Debezium"),
    "a lost CloudEvent": (
        b'{"specversion":"1.0","data":' + EVENT + b"}",
        "header content-type: application/cloudevents+json",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_a_dead_letter_says_what_the_value_is_and_what_to_do(name: str) -> None:
    value, said = SAID[name]

    [letter] = Decoder(EventSettings()).decode([record(value)], Decisions(decoded_at_ms=NOW_MS)).dead_letters

    assert said in letter.message
    assert "ana" not in letter.message


def test_an_event_with_fields_of_an_envelope_is_an_event() -> None:
    value = event_bytes("ana", "a", specversion="1.0", data=5, op="c", after={}, payload={}, schema={})

    assert len(Decoder(CONFIG).decode([record(value)], Decisions(decoded_at_ms=NOW_MS)).events) == 1


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

    [letter] = decoded.dead_letters
    assert letter.message.startswith("$.ts: expected milliseconds since 1970, of March 1973 to 5138")


def test_the_first_time_of_our_era_and_the_allowed_future_are_good_times() -> None:
    values = [event_bytes("ana", "a", ts=FIRST_TIME_MS), event_bytes("ana", "a", ts=NOW_MS + 60_000)]

    decoded = Decoder(CONFIG).decode([record(value) for value in values], Decisions(decoded_at_ms=NOW_MS))

    assert decoded.times_ms == [FIRST_TIME_MS, NOW_MS + 60_000]


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
    written = json.dumps({"user": user, "item": item, "type": "view", "ts": NOW_MS, "value": value}).encode()
    try:
        (user + item).encode("utf-8")
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    if user.isspace() or item.isspace():
        return

    decoded = Decoder(CONFIG).decode([record(written)], Decisions(decoded_at_ms=NOW_MS))

    (event,) = decoded.events
    assert (event.user, event.item, event.value) == (user, item, value)
