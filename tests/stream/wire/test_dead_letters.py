"""Dead letters as values: what is read from a record, whatever its sender put in, and what is sent again."""

import json

import pytest

from millstream.terminal.time_argument import since_ms
from stream.config.settings import Settings
from stream.errors import ConfigError
from stream.publish import Publisher
from stream.wire.dead_letters import (
    DeadCode,
    DeadLetter,
    StoredDeadLetter,
    read_letter,
    read_receipt,
    receipt,
    replayed,
)
from stream.wire.records import NO_TIMESTAMP, OutRecord, Record
from tests.support.events import NOW_MS, record


def as_read(out: OutRecord, partition: int = 2, offset: int = 17) -> Record:
    timestamp_ms = NOW_MS if out.timestamp_ms is None else out.timestamp_ms
    return Record(out.topic, partition, offset, out.key, out.value, out.headers, timestamp_ms)


def letter_of(event: Record, code: DeadCode = DeadCode.NOT_JSON, max_record_bytes: int = 1_000_000) -> Record:
    publisher = Publisher(Settings(), max_record_bytes)
    [letter] = publisher.dead_letters([DeadLetter(event, code, "$: expected something else")], NOW_MS)
    return as_read(letter)


def read(event: Record, **options: int) -> StoredDeadLetter:
    letter = read_letter(letter_of(event, **options))  # type: ignore[arg-type]
    assert letter is not None
    return letter


def test_a_letter_gives_the_event_as_it_was_and_the_reason() -> None:
    event = record(b"\xffno", partition=3, offset=42, key=b"ana", headers=[("trace", b"\x00\x01")])

    letter = read(event)

    assert letter.event == event
    assert (letter.id, letter.code, letter.message) == ("2@17", "not_json", "$: expected something else")
    assert (letter.app, letter.version, letter.num_replays) == ("millstream-0", "0.1.0", 0)


def test_headers_of_a_producer_that_look_like_ours_change_nothing_of_a_letter() -> None:
    forged = [("code", b"forged"), ("partition", b"9"), ("truncated_from_bytes", b"1"), ("timestamp", b"x")]
    headers = [(f"millstream.error.{name}", value) for name, value in forged]
    event = record(b"no", partition=3, offset=42, headers=[*headers, ("trace", b"1")])

    letter = read(event)

    assert (letter.code, letter.event.partition, letter.truncated_from_bytes) == ("not_json", 3, None)
    assert letter.event.headers == [("trace", b"1")]


@pytest.mark.parametrize(
    "headers",
    [[], [("millstream.error.code", b"not_json")], [("trace", None)], [("millstream.replay.of", None)]],
)
def test_a_record_that_is_no_letter_is_none(headers: list[tuple[str, bytes | None]]) -> None:
    assert read_letter(record(b"x", headers=headers)) is None


def test_an_event_is_sent_again_as_it_was_with_a_mark_and_to_its_partition() -> None:
    letter = read(record(b"v", partition=3, offset=42, key=b"ana", headers=[("trace", b"1")]))

    out = replayed(letter, "events.dlq", 4)

    assert (out.topic, out.key, out.value, out.timestamp_ms, out.source_partition) == (
        "events",
        b"ana",
        b"v",
        NOW_MS,
        3,
    )
    assert out.headers == [
        ("trace", b"1"),
        ("millstream.replay.of", b"events.dlq[2]@17"),
        ("millstream.replay.times", b"1"),
    ]


def test_an_event_of_a_partition_that_is_gone_goes_where_its_key_sends_it() -> None:
    assert replayed(read(record(b"v", partition=3)), "events.dlq", 3).source_partition is None


def test_an_event_without_a_timestamp_gets_none_made_up() -> None:
    assert replayed(read(record(b"v", timestamp_ms=NO_TIMESTAMP)), "events.dlq", 4).timestamp_ms is None


def test_a_letter_of_an_event_that_was_sent_again_counts_how_often() -> None:
    first = replayed(read(record(b"v")), "events.dlq", 4)

    again = read(record(b"v", headers=first.headers))

    assert again.num_replays == 1
    assert [value for name, value in replayed(again, "events.dlq", 4).headers if name.endswith("times")] == [b"2"]


def test_a_receipt_names_its_letter_and_is_no_letter() -> None:
    out = receipt(read(record(b"v", key=b"ana")), "events.dlq")

    assert (out.topic, out.value, out.source_partition) == ("events.dlq", None, 2)
    assert out.key != b"ana", "on a compacted topic it would delete letters"
    assert read_receipt(as_read(out, offset=18)) == (2, 17)
    assert read_letter(as_read(out, offset=18)) is None


def test_a_letter_can_not_pass_for_a_receipt() -> None:
    event = record(None, headers=[("millstream.replay.of", b"events.dlq[0]@1")])

    assert read_receipt(letter_of(event)) is None


def test_a_letter_that_holds_only_a_part_takes_the_whole_record_if_it_is_that_one() -> None:
    event = record(json.dumps({"user": "u" * 900}).encode(), key=b"ana")
    letter = read(event, max_record_bytes=500)

    assert letter.truncated_from_bytes == len(event.value or b"") > len(letter.event.value or b"")
    whole = letter.of(event)
    assert whole is not None
    assert whole.event == event
    assert whole.truncated_from_bytes is None
    assert letter.of(event._replace(value=b"another")) is None


def test_a_letter_whose_key_and_headers_were_cut_says_so() -> None:
    event = record(b"value", key=b"k" * 2_000, headers=[("h", b"x")])

    letter = read(event, max_record_bytes=1_500)

    assert letter.truncated_from_bytes == 5
    whole = letter.of(event)
    assert whole is not None
    assert whole.event == event


@pytest.mark.parametrize(
    ("text", "ago_ms"), [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000)]
)
def test_a_time_span_is_counted_back_from_now(text: str, ago_ms: int) -> None:
    assert since_ms(text, NOW_MS) == NOW_MS - ago_ms


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert since_ms("1970-01-02", NOW_MS) == 86_400_000
    assert since_ms("1970-01-02T01:00+01:00", NOW_MS) == 86_400_000
    with pytest.raises(ConfigError, match="--since yesterday: expected 90s"):
        since_ms("yesterday", NOW_MS)


@pytest.mark.parametrize("text", ["5000w", "1960-01-01"])
def test_a_time_before_1970_is_the_beginning(text: str) -> None:
    assert since_ms(text, NOW_MS) == 0
