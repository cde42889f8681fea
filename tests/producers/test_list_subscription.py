"""Promises of following lists that need no broker: what a record means, and how a list is shown."""

import msgspec

from millstream.commands.subscribe import _json_line, _row
from producers.list_subscription import decode_list
from stream.wire.records import Record
from stream.wire.schema import RankedItem, Recommendation

LIST = Recommendation(
    user="ana",
    generated_at=1_700_000_000_123,
    event_ts=1_000,
    epoch=7,
    model="sequence-1",
    items=[RankedItem(item="1", score=0.83, reason="9"), RankedItem(item="2", score=0.5)],
)


def record(value: bytes | None) -> Record:
    return Record("recommendations", 0, 0, b"ana", value, [], 1_700_000_000_500)


def test_a_record_is_a_list() -> None:
    published = decode_list(record(msgspec.json.encode(LIST)))

    assert published is not None
    assert (published.user, published.recommendation) == ("ana", LIST)


def test_a_record_without_a_value_says_that_the_user_was_erased() -> None:
    published = decode_list(record(None))

    assert published is not None
    assert (published.user, published.recommendation) == ("ana", None)
    assert _json_line(published, {}) == '{"user":"ana","erased":true}'
    assert _row(published, {}).plain.endswith("  ana             erased")


def test_other_bytes_are_no_list() -> None:
    assert decode_list(record(b"rubbish")) is None
    assert decode_list(record(b"\xff")) is None
    assert decode_list(record(b'{"user":"ana"}')) is None


def test_a_row_shows_titles_where_they_are_known_and_ids_elsewhere() -> None:
    published = decode_list(record(msgspec.json.encode(LIST)))

    assert published is not None
    assert _row(published, {"1": "Alien"}).plain.endswith("  ana             Alien 0.83 · 2 0.50")


def test_a_json_line_is_the_record_with_titles_added() -> None:
    published = decode_list(record(msgspec.json.encode(LIST)))

    assert published is not None
    shown = msgspec.json.decode(_json_line(published, {"1": "Alien"}))
    assert shown["items"][0] == {"item": "1", "score": 0.83, "reason": "9", "title": "Alien"}
    assert {name: value for name, value in shown.items() if name != "items"} == {
        "user": "ana",
        "generated_at": 1_700_000_000_123,
        "event_ts": 1_000,
        "epoch": 7,
        "model": "sequence-1",
    }
