"""The hashes that recovery and verification compare: their values are fixed, and nothing that matters escapes them.

Expected values come from `printf '…' | b2sum -l 64` over the bytes that are spelled out beside them.
"""

from typing import Any

import msgspec
import pytest

from stream.wire.fingerprint import GENESIS, add_records, chained, hex_digits, lists_hash, record_hash
from stream.wire.records import OutRecord, Record
from stream.wire.schema import JournalEntry, OffsetRange


def a_record(**fields: Any) -> Record:
    given = {"partition": 1, "offset": 2, "timestamp_ms": 3, "key": b"k", "value": b"vw", **fields}
    return Record(
        "events", given["partition"], given["offset"], given["key"], given["value"], [], given["timestamp_ms"]
    )


def an_entry(**fields: Any) -> JournalEntry:
    return msgspec.structs.replace(
        JournalEntry(
            epoch=7,
            app="millstream-0",
            topic="events",
            partitions={1: OffsetRange(0, 2), 0: OffsetRange(5, 9)},
            positions={1: 2, 0: 9},
            counts={"events": 5},
            decoded_at_ms=1_700_000_000_000,
            generated_at_ms=1_700_000_000_005,
            config_hash="cafe",
            origin=3,
            settings_since=5,
            records_hash="aa",
            applied_hash="bb",
            lists_hash="cc",
            chain="",
            excluded={1: [0], 0: [6, 7]},
            checkpoint=None,
        ),
        **fields,
    )


def test_the_hash_of_a_record_has_the_value_that_every_version_and_machine_gives_it() -> None:
    # \0\0\0\1 \0\0\0\0\0\0\0\2 \0\0\0\0\0\0\0\3 \0\0\0\1 \0\0\0\2 kvw
    assert hex_digits(record_hash(a_record())) == "0f96c544a52a8915"


def test_a_missing_key_has_a_length_of_minus_one_in_the_hash() -> None:
    # \0\0\0\1 \0\0\0\0\0\0\0\2 \0\0\0\0\0\0\0\3 \xff\xff\xff\xff \0\0\0\0
    assert hex_digits(record_hash(a_record(key=None, value=b""))) == "9829a524830e486c"


@pytest.mark.parametrize(
    "changed",
    [
        {"partition": 2},
        {"offset": 3},
        {"timestamp_ms": 4},
        {"timestamp_ms": -1},
        {"key": b"l"},
        {"key": None},
        {"key": b""},
        {"key": b"kv", "value": b"w"},
        {"value": b"vv"},
        {"value": None},
        {"value": b""},
    ],
    ids=str,
)
def test_every_field_of_a_record_counts(changed: dict[str, Any]) -> None:
    assert record_hash(a_record(**changed)) != record_hash(a_record())


def test_the_hash_of_records_does_not_depend_on_their_order_nor_on_how_they_are_parted() -> None:
    one, two, three = (a_record(offset=number) for number in range(3))

    at_once = add_records(0, [one, two, three])

    assert at_once == add_records(0, [three, one, two])
    assert at_once == add_records(add_records(0, [two]), [three, one])


def test_a_record_that_came_twice_does_not_cancel_itself() -> None:
    one = a_record()

    assert len({0, add_records(0, [one]), add_records(0, [one, one]), add_records(0, [one] * 3)}) == 4


def test_the_hash_of_records_stays_within_64_bits_and_of_none_is_the_total_before() -> None:
    largest = 2**64 - 1

    assert add_records(largest, []) == largest
    assert add_records(largest, [a_record()]) == record_hash(a_record()) - 1
    assert hex_digits(0) == "0000000000000000"
    assert hex_digits(largest) == "ffffffffffffffff"


def test_the_hash_of_lists_has_the_value_that_every_version_and_machine_gives_it() -> None:
    # \0\0\0\1 \0\0\0\2 u[] \0\0\0\0 \0\0\0\0
    assert lists_hash([OutRecord("r", b"u", b"[]"), OutRecord("r", None, None)]) == "25c33e2fbe49219d"


def test_the_hash_of_lists_depends_on_keys_values_and_order_and_on_where_one_ends() -> None:
    pairs = [
        [(b"ana", b"1"), (b"ben", b"2")],
        [(b"ben", b"2"), (b"ana", b"1")],
        [(b"ana", b"2"), (b"ben", b"1")],
        [(b"ana1", b""), (b"ben", b"2")],
        [(b"ana", b"1")],
        [(b"ana", b"1"), (b"ben", b"2"), (None, None)],
        [],
    ]

    assert len({lists_hash([OutRecord("r", key, value) for key, value in lists]) for lists in pairs}) == len(pairs)


def test_the_chain_has_the_value_that_every_version_and_machine_gives_it() -> None:
    # Joined by \0: 0000000000000000 millstream-0 events 7 0:5-9,1:0-2 0:9,1:2 0:[6, 7],1:[0] 1700000000000
    # 1700000000005 cafe 3 5 aa bb cc
    assert chained(GENESIS, an_entry()) == "9c94fce0579abdcb"


@pytest.mark.parametrize(
    "changed",
    [
        {"epoch": 8},
        {"app": "millstream-1"},
        {"topic": "clicks"},
        {"partitions": {1: OffsetRange(0, 2), 0: OffsetRange(4, 9)}},
        {"partitions": {1: OffsetRange(0, 2)}},
        {"positions": {1: 2, 0: 10}},
        {"decoded_at_ms": 1},
        {"generated_at_ms": 1},
        {"config_hash": "beef"},
        {"origin": 2},
        {"settings_since": 4},
        {"records_hash": "ab"},
        {"applied_hash": "ab"},
        {"lists_hash": "ab"},
        {"effort": "low"},
        {"model_version": 7},
        {"decode_version": 2},
        {"excluded": {}},
        {"excluded": {1: [0], 0: [67]}},
        {"excluded": {0: [0], 1: [6, 7]}},
    ],
    ids=str,
)
def test_everything_that_was_decided_in_a_batch_or_came_of_it_is_in_the_chain(changed: dict[str, Any]) -> None:
    assert chained(GENESIS, an_entry(**changed)) != chained(GENESIS, an_entry())


def test_the_chain_holds_all_fields_but_those_that_are_only_told() -> None:
    told = {"counts": {"events": 6}, "checkpoint": "epoch-000000000001", "chain": "0123456789abcdef"}
    covered = {name for name in JournalEntry.__struct_fields__ if name not in told}

    assert chained(GENESIS, an_entry(**told)) == chained(GENESIS, an_entry())
    assert covered == {
        *("epoch", "app", "topic", "partitions", "positions", "decoded_at_ms", "generated_at_ms", "config_hash"),
        *("origin", "settings_since", "records_hash", "applied_hash", "lists_hash", "excluded", "effort"),
        *("model_version", "decode_version"),
    }, "a new field: put it into the chain, and into the test above"


def test_the_chain_depends_on_what_came_before() -> None:
    first, second = an_entry(), an_entry(epoch=8)

    assert chained(chained(GENESIS, first), second) != chained(GENESIS, second)
    assert chained(chained(GENESIS, first), second) != chained(chained(GENESIS, second), first)


def test_the_chain_does_not_depend_on_the_order_in_which_partitions_were_written_down() -> None:
    turned = an_entry(
        partitions={0: OffsetRange(5, 9), 1: OffsetRange(0, 2)},
        positions={0: 9, 1: 2},
        excluded={0: [6, 7], 1: [0]},
    )

    assert chained(GENESIS, turned) == chained(GENESIS, an_entry())


def test_the_chain_takes_partitions_in_the_order_of_their_numbers_as_text_as_the_first_ones_did() -> None:
    many = an_entry(
        partitions={2: OffsetRange(0, 2), 10: OffsetRange(5, 9)},
        positions={2: 2, 10: 9},
        counts={},
        decoded_at_ms=1,
        generated_at_ms=2,
        excluded={10: [6, 7], 2: [0]},
    )

    assert chained(GENESIS, many) == "b365ae8bae1f963f"
