"""What was decided about a batch is one value, and the journal holds all of it."""

import msgspec

from stream.wire.decisions import Decisions
from stream.wire.schema import JournalEntry
from tests.support.events import journal_entry

DECIDED = Decisions(decoded_at_ms=5, generated_at_ms=9, effort="low", excluded={0: [3], 10: [1, 2]})


def test_an_event_is_left_out_by_its_partition_and_offset() -> None:
    assert DECIDED.excludes(10, 2)
    assert not DECIDED.excludes(10, 3)
    assert not DECIDED.excludes(1, 3)
    assert DECIDED.num_excluded == 3


def test_one_more_event_is_left_out_of_a_copy_in_order() -> None:
    more = DECIDED.excluding(2, 7).excluding(10, 0)

    assert list(more.excluded.items()) == [(0, [3]), (2, [7]), (10, [0, 1, 2])]
    assert DECIDED.excluded == {0: [3], 10: [1, 2]}


def test_an_entry_of_the_journal_gives_back_what_was_decided() -> None:
    assert journal_entry(**msgspec.structs.asdict(DECIDED)).decisions == DECIDED


def test_every_decision_is_a_field_of_the_journal_and_in_its_json_under_that_name() -> None:
    names = set(Decisions.__struct_fields__)

    assert names <= set(JournalEntry.__struct_fields__)
    assert names <= set(msgspec.json.decode(msgspec.json.encode(journal_entry(**msgspec.structs.asdict(DECIDED)))))


def test_partitions_are_numbers_here_and_text_in_json() -> None:
    encoded = msgspec.json.encode(journal_entry(positions={2: 5, 10: 7}))

    assert b'"positions":{"2":5,"10":7}' in encoded
    assert msgspec.json.decode(encoded, type=JournalEntry).positions == {2: 5, 10: 7}
