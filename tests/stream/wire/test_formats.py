"""Each record of ours says its format; a newer one is refused at every door, one that says none is of the first."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from producers.list_subscription import decode_list
from stream.errors import RefusedToStart
from stream.http.api.materialized_lists import ListView
from stream.wire.dead_letters import read_letter
from stream.wire.formats import FORMAT_HEADER, LIST_FORMAT, NewerFormat, format_header, refuse_newer
from stream.wire.journal_record import ForeignRecords, read_entry
from stream.wire.records import Headers, OutRecord, Record
from stream.wire.schema import Recommendation
from tests.support.events import event_bytes, journal_entry
from tests.support.lives import Lives

LIST = msgspec.json.encode(Recommendation("ana", 1, 1, 1, "sequence-6", []))


def record(value: bytes, headers: Headers) -> Record:
    return Record("topic", 2, 7, b"key", value, headers, 0)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "checkpoints")
    lives.log.produce(event_bytes("ana", "a", "click"))
    lives.log.produce(b"bad")
    lives.start().run()
    yield lives
    lives.kill()


def written(lives: Lives, topic: str) -> OutRecord:
    return lives.log.published(topic)[-1]


def test_journal_and_lists_say_their_format_in_a_header_and_dead_letters_among_theirs(lives: Lives) -> None:
    assert dict(written(lives, "millstream.journal").headers)["millstream.format"] == b"1"
    assert dict(written(lives, "recommendations").headers)["millstream.format"] == b"1"
    assert dict(written(lives, "events.dlq").headers)["millstream.error.format"] == b"1"


@pytest.mark.parametrize(
    "headers", [[], [(FORMAT_HEADER, b"1")], [(FORMAT_HEADER, None)], [(FORMAT_HEADER, b"foreign")]]
)
def test_a_record_that_tells_no_other_format_is_of_the_first(headers: Headers) -> None:
    assert decode_list(record(LIST, headers)) is not None
    ours = record(msgspec.json.encode(journal_entry()), headers)._replace(key=b"millstream-0")
    assert read_entry(ours) == journal_entry()


def test_a_newer_format_is_refused_with_its_place_and_what_to_do() -> None:
    with pytest.raises(NewerFormat) as refused:
        refuse_newer(record(LIST, format_header(LIST_FORMAT + 1)), LIST_FORMAT, "list")

    assert str(refused.value) == (
        "topic[2]@7: expected a list of format 1 or older, got format 2: a newer Millstream wrote it. Upgrade this one "
        "first (docs/upgrade.md has the order)"
    )
    assert isinstance(refused.value, RefusedToStart)


def test_a_journal_entry_that_cannot_be_read_is_refused_and_what_is_no_entry_is_counted() -> None:
    journal = ForeignRecords("events")
    with pytest.raises(RefusedToStart, match="another version of Millstream wrote it"):
        journal.entry(record(b'{"epoch": "one", "chain": "", "positions": {}}', []))

    for offset, value in ((7, b"garbage"), (7, b"garbage"), (8, b"{}"), (9, b"[" * 100_000)):
        assert journal.entry(record(value, [])._replace(offset=offset)) is None
    assert journal.count == 3  # one was read twice


def test_every_reader_refuses_a_newer_format(lives: Lives) -> None:
    letter = written(lives, "events.dlq")
    newer = [(name, b"2" if name == "millstream.error.format" else value) for name, value in letter.headers]

    with pytest.raises(NewerFormat, match="record of the journal"):
        read_entry(record(msgspec.json.encode(journal_entry()), format_header(2)))
    with pytest.raises(NewerFormat, match="list"):
        decode_list(record(LIST, format_header(2)))
    with pytest.raises(NewerFormat, match="list"):
        ListView(10).apply([record(LIST, format_header(2))])
    with pytest.raises(NewerFormat, match="dead letter"):
        read_letter(record(letter.value or b"", newer))


def test_a_dead_letter_of_an_event_with_such_a_header_of_its_own_is_read() -> None:
    """What a producer sets does not count: only what the worker added."""
    headers: Headers = [("millstream.error.format", b"9"), ("millstream.format", b"9")]
    ours = {"code": "not_json", "topic": "events", "partition": "0", "offset": "4", "timestamp": "5", "format": "1"}
    headers += [(f"millstream.error.{name}", text.encode()) for name, text in ours.items()]

    letter = read_letter(record(b"bad", headers))

    assert letter is not None
    assert letter.event.offset == 4


def test_a_worker_does_not_start_on_a_journal_of_a_newer_format(lives: Lives) -> None:
    journal = lives.log.topics["millstream.journal"]
    journal[-1] = replace(journal[-1], headers=format_header(2))

    with pytest.raises(NewerFormat, match="record of the journal of format 1 or older, got format 2"):
        lives.start()
