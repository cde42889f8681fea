"""CloudEvents in both modes: the envelope names and dates the event, and its headers are part of the record's hash."""

import json
from typing import Any

import pytest

from stream.config.settings import EventSettings
from stream.ingest.decode import Decoded, Decoder
from stream.log.memory import MemoryLog
from stream.wire.dead_letters import DeadCode
from stream.wire.decisions import Decisions
from stream.wire.fingerprint import hex_digits, record_hash
from stream.wire.records import Headers, Record
from tests.support.events import NOW_MS, event_bytes, memory_pipeline, record, small_settings

CONFIG = EventSettings(max_value_bytes=1_000, max_id_bytes=40, max_future_seconds=60)
PLAIN = b'{"user": "ana", "item": "a", "type": "click"}'
ATTRIBUTES = {"specversion": "1.0", "id": "e-1", "source": "/shop/web", "type": "shop.click"}
TIME = "2023-11-14T22:13:19.999Z"  # one ms before NOW_MS
STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def binary(value: bytes | None = PLAIN, **changed: str | None) -> Record:
    """Return a record in binary mode; an attribute that is None is left out."""
    attributes = {name: text for name, text in (ATTRIBUTES | changed).items() if text is not None}
    headers = [("content-type", b"application/json"), *((f"ce_{k}", v.encode()) for k, v in attributes.items())]
    return record(value, headers=headers)


def structured(data: Any, **changed: Any) -> Record:
    """Return a record in structured mode."""
    attributes = {name: value for name, value in (ATTRIBUTES | changed).items() if value is not None}
    return record(json.dumps(attributes | data).encode(), headers=STRUCTURED)


def decode(*records: Record) -> Decoded:
    return Decoder(CONFIG).decode(records, Decisions(decoded_at_ms=NOW_MS))


@pytest.mark.parametrize("cloud", [binary(time=TIME), structured({"data": json.loads(PLAIN)}, time=TIME)])
def test_source_and_id_name_an_event_and_its_time_dates_it(cloud: Record) -> None:
    decoded = decode(cloud)

    assert decoded.dead_letters == []
    assert (decoded.events[0].user, decoded.events[0].id) == ("ana", "/shop/web e-1")
    assert decoded.times_ms == [NOW_MS - 1]
    assert decoded.records == [cloud]


def test_id_and_time_of_the_event_itself_win() -> None:
    value = event_bytes("ana", "a", ts=NOW_MS - 7, id="order-1")

    decoded = decode(binary(value, time="long ago", source="/" + "s" * 400))

    assert (decoded.events[0].id, decoded.times_ms) == ("order-1", [NOW_MS - 7])


def test_without_any_time_it_is_that_of_the_record() -> None:
    assert decode(binary()).times_ms == [NOW_MS]


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2023-11-14T22:13:19Z", NOW_MS - 1_000),
        ("2023-11-15t00:13:19.5+02:00", NOW_MS - 500),
        ("2023-11-14T22:13:19.9999999z", NOW_MS - 1),
    ],
)
def test_a_time_in_rfc_3339_is_read_to_the_millisecond(text: str, ms: int) -> None:
    assert decode(binary(time=text)).times_ms == [ms]


BAD = {
    "no id": (binary(id=None), DeadCode.BAD_CLOUD_EVENT, "ce_id"),
    "an empty source": (binary(source=""), DeadCode.BAD_CLOUD_EVENT, "ce_source"),
    "no type": (binary(type=None), DeadCode.BAD_CLOUD_EVENT, "ce_type"),
    "a blank in the source": (binary(source="a b"), DeadCode.BAD_CLOUD_EVENT, "ce_source"),
    "another version": (binary(specversion="2.0"), DeadCode.BAD_CLOUD_EVENT, "ce_specversion"),
    "a header that is no text": (
        record(PLAIN, headers=[("ce_specversion", b"1.0"), ("ce_id", b"\xff")]),
        DeadCode.BAD_CLOUD_EVENT,
        "ce_id",
    ),
    "a time without a zone": (binary(time="2023-11-14T22:13:19"), DeadCode.BAD_TIME, "ce_time"),
    "a day that is none": (binary(time="2023-02-30T00:00:00Z"), DeadCode.BAD_TIME, "ce_time"),
    "a time of the first day of 1970": (binary(time="1970-01-01T00:00:01Z"), DeadCode.BAD_TIME, "ce_time"),
    "a time before 1970": (binary(time="1969-12-31T23:59:59Z"), DeadCode.BAD_TIME, "ce_time"),
    "a time in a year": (binary(time="2024-11-14T22:13:19Z"), DeadCode.FUTURE_TIME, "ce_time"),
    "source and id too long": (binary(source="/" + "s" * 40), DeadCode.BAD_ID, "source and id"),
    "no value": (binary(None), DeadCode.NULL_VALUE, "$"),
    "a bad event": (binary(b"{}"), DeadCode.MISSING_FIELD, "$.user"),
    "a bad event inside": (structured({"data": {"user": "ana"}}), DeadCode.MISSING_FIELD, "$.data.item"),
    "no data": (structured({}), DeadCode.BAD_CLOUD_EVENT, "$.data"),
    "data in base64": (
        structured({"data_base64": "e30="}),
        DeadCode.BAD_CLOUD_EVENT,
        "$.data: expected the event as JSON",
    ),
    "a number for an id": (structured({"data": {}}, id=7), DeadCode.BAD_CLOUD_EVENT, "$.id"),
    "a structured one that is no JSON": (record(b"{", headers=STRUCTURED), DeadCode.NOT_JSON, "$"),
    "a structured one that is a list": (record(b"[]", headers=STRUCTURED), DeadCode.NOT_JSON, "$"),
    "a batch": (
        record(b"[]", headers=[("content-type", b"application/cloudevents-batch+json")]),
        DeadCode.BAD_CLOUD_EVENT,
        "content-type: expected application/cloudevents+json",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_cloud_event_that_cannot_be_read_is_a_dead_letter_that_says_where(name: str) -> None:
    bad, code, where = BAD[name]

    (letter,) = decode(bad).dead_letters

    assert (letter.code, letter.message[: len(where)]) == (code, where)


def test_headers_that_are_no_envelope_change_nothing() -> None:
    plain = record(PLAIN, headers=[("ce_id", b"e-1"), ("ce_time", b"never"), ("content-type", b"application/json")])

    decoded = decode(plain)

    assert (decoded.events[0].id, decoded.times_ms) == (None, [NOW_MS])


def test_the_hash_of_a_record_counts_the_headers_that_decide_and_no_others() -> None:
    bare = record_hash(record(PLAIN))
    cloud = record_hash(binary(time=TIME))

    assert record_hash(record(PLAIN, headers=[("traceparent", b"00-1"), ("content-type", b"application/json")])) == bare
    assert len({bare, cloud, record_hash(binary()), record_hash(binary(time=TIME, id="e-2"))}) == 4
    assert record_hash(record(PLAIN, headers=STRUCTURED)) != bare


def test_the_hash_of_a_cloud_event_has_the_value_that_every_version_and_machine_gives_it() -> None:
    # printf '\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\3\0\0\0\1\0\0\0\1kv\0\0\0\5\0\0\0\1ce_id7' | b2sum -l 64
    cloud = record(b"v", partition=1, offset=2, key=b"k", timestamp_ms=3, headers=[("ce_id", b"7")])

    assert hex_digits(record_hash(cloud)) == "fa8ad5642b216ed1"


def test_a_repeated_cloud_event_is_learned_once_and_one_of_another_source_is_no_repetition() -> None:
    log = MemoryLog(num_partitions=1)
    for source in ("/web", "/web", "/app"):
        log.produce(PLAIN, headers=binary(source=source).headers, timestamp_ms=NOW_MS)

    report = memory_pipeline(log, small_settings()).run_once()

    assert report is not None
    assert (report.step.num_learned, report.encoded.num_duplicates) == (2, 1)
