"""The way through, over a log in memory: what goes in, what comes out, and what a failure leaves behind."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from online_models import MODEL_VERSION
from stream.config.settings import Settings
from stream.errors import FencedError, RefusedToStart, TransactionInDoubt
from stream.log.memory import MemoryLog, MemoryTransport
from stream.pipeline import BatchReport, Clocks, Pipeline
from stream.wire.records import OutRecord
from stream.wire.schema import JournalEntry, Recommendation
from tests.support.events import NOW_MS, ManualClock, event_bytes, memory_pipeline, small_settings


class SteppingClock(ManualClock):
    """Goes on a little with every look, so that a batch that waits for company closes."""

    def __call__(self) -> float:
        self.seconds += 0.03
        return self.seconds


def make_pipeline(log: MemoryLog, settings: Settings | None = None, **transport: Any) -> Pipeline:
    settings = settings or small_settings()
    clocks = Clocks(monotonic=SteppingClock(), wall_ms=lambda: NOW_MS + 5)
    return memory_pipeline(log, settings, MemoryTransport(log, **transport), clocks=clocks)


def run_dry(pipeline: Pipeline) -> list[BatchReport]:
    reports = []
    while (report := pipeline.run_once()) is not None:
        reports.append(report)
    return reports


def produce(log: MemoryLog, *events: bytes | None, partition: int = 0) -> None:
    for value in events:
        log.produce(value, partition=partition, timestamp_ms=NOW_MS)


def lists(log: MemoryLog) -> list[Recommendation]:
    values = [record.value for record in log.published("recommendations")]
    return [msgspec.json.decode(value, type=Recommendation) for value in values if value is not None]


def journal(log: MemoryLog) -> list[JournalEntry]:
    values = [record.value for record in log.published("millstream.journal")]
    return [msgspec.json.decode(value, type=JournalEntry) for value in values if value is not None]


def headers(record: OutRecord) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in record.headers}


def test_every_touched_user_gets_one_fresh_list_per_batch() -> None:
    log = MemoryLog()
    produce(log, event_bytes("ana", "a"), event_bytes("ben", "b"), event_bytes("ana", "b"))

    run_dry(make_pipeline(log))

    published = {(one.user, one.epoch): one for one in lists(log)}
    assert set(published) == {("ana", 1), ("ben", 1)}
    assert [record.key for record in log.published("recommendations")] == [b"ben", b"ana"]  # by newest event
    # Ana has both items; Ben has b, and a is what is left of the catalogue.
    assert published["ana", 1].items == []
    assert [ranked.item for ranked in published["ben", 1].items] == ["a"]
    assert published["ben", 1].model == f"sequence-{MODEL_VERSION}"
    assert published["ben", 1].generated_at == NOW_MS + 5
    assert published["ben", 1].event_ts == NOW_MS


def test_a_list_knows_the_newest_event_of_its_own_batch() -> None:
    settings = small_settings(evidence={"owned": ()}, model={"scorer": "transitions", "k": 1})
    log = MemoryLog()
    produce(log, *(event_bytes(f"u{number}", item) for number in range(4) for item in ("tea", "cup")))
    produce(log, event_bytes("zoe", "tea"))  # her only event, learned and answered in one batch

    run_dry(make_pipeline(log, settings))

    newest = [one for one in lists(log) if one.user == "zoe"][-1]
    assert [(ranked.item, ranked.reason) for ranked in newest.items] == [("cup", "tea")]


def test_bad_records_go_to_the_dead_letters_in_the_same_transaction_and_the_stream_goes_on() -> None:
    log = MemoryLog()
    log.produce(b"no json", key=b"k1", headers=[("trace", b"t1")], timestamp_ms=NOW_MS - 9)
    produce(log, event_bytes("ana", "a"), None)

    (report,) = run_dry(make_pipeline(log))

    first, second = log.published("events.dlq")
    assert (first.key, first.value, first.timestamp_ms) == (b"k1", b"no json", NOW_MS - 9)
    assert headers(first) == {
        "trace": "t1",
        "millstream.error.code": "not_json",
        "millstream.error.message": "$: expected one JSON object in UTF-8; it is no JSON from byte 4 on",
        "millstream.error.topic": "events",
        "millstream.error.partition": "0",
        "millstream.error.offset": "0",
        "millstream.error.timestamp": str(NOW_MS - 9),
        "millstream.error.app": "millstream-0",
        "millstream.error.version": headers(second)["millstream.error.version"],
        "millstream.error.format": "1",
    }
    assert headers(second)["millstream.error.code"] == "null_value"
    assert report.step.num_learned == 1
    assert log.committed == {0: 3}


def test_a_header_without_a_value_does_not_stop_a_dead_letter() -> None:
    log = MemoryLog()
    log.produce(b"no json", headers=[("trace", None)], timestamp_ms=NOW_MS)

    run_dry(make_pipeline(log))

    (letter,) = log.published("events.dlq")
    assert letter.headers[0] == ("trace", b"")


def test_a_dead_letter_with_an_old_timestamp_gets_a_new_one_so_that_retention_does_not_take_it() -> None:
    log = MemoryLog()
    for age_ms in (1, 86_399_000, 86_401_000):
        log.produce(b"no json", timestamp_ms=NOW_MS + 5 - age_ms)

    run_dry(make_pipeline(log))

    letters = log.published("events.dlq")
    assert [letter.timestamp_ms for letter in letters] == [NOW_MS + 4, NOW_MS + 5 - 86_399_000, None]
    assert headers(letters[2])["millstream.error.timestamp"] == str(NOW_MS + 5 - 86_401_000)


def test_a_batch_of_nothing_but_bad_records_is_committed_too() -> None:
    log = MemoryLog()
    produce(log, b"1", b"2")

    run_dry(make_pipeline(log))

    assert len(log.published("events.dlq")) == 2
    assert log.published("recommendations") == []
    assert [entry.counts["dead_letters"] for entry in journal(log)] == [2]


def test_a_dead_letter_holds_the_first_64_kib_and_says_how_long_the_whole_is() -> None:
    log = MemoryLog()
    produce(log, b"x" * 2_000_000)

    run_dry(make_pipeline(log))

    (letter,) = log.published("events.dlq")
    assert letter.value is not None
    assert len(letter.value) == 65_536
    assert headers(letter)["millstream.error.offset"] == "0"  # finds the rest
    assert headers(letter)["millstream.error.truncated_from_bytes"] == "2000000"


def test_a_batch_is_bounded_by_bytes_and_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog(num_partitions=2)
    for partition in (0, 1):
        for _ in range(10):
            log.produce(b"x" * 2_000, partition=partition)
    settings = small_settings(batching={"max_bytes": 5_000, "max_events": 100})

    run_dry(make_pipeline(log, settings))

    entries = journal(log)
    assert [sum(span.next - span.first for span in entry.partitions.values()) for entry in entries] == [3] * 6 + [2]
    assert entries[-1].positions == {0: 10, 1: 10}


def test_the_journal_accounts_for_every_record_without_gap_or_overlap() -> None:
    log = MemoryLog(num_partitions=2)
    for number in range(21):
        good = event_bytes(f"u{number % 5}", f"i{number % 7}", id=f"e{number}")
        produce(log, good if number % 4 else b"bad", partition=number % 2)
    produce(log, event_bytes("u1", "i1", id="e1"))  # e1 again, in the other partition: not a repetition there
    produce(log, event_bytes("u2", "i2", id="e2"))  # e2 again, in its own partition

    run_dry(make_pipeline(log))

    entries = journal(log)
    assert [entry.epoch for entry in entries] == list(range(1, len(entries) + 1))
    next_offset = {0: 0, 1: 0}
    for entry in entries:
        for partition, span in entry.partitions.items():
            assert span.first == next_offset[int(partition)]
            next_offset[int(partition)] = span.next
        assert {int(p): offset for p, offset in entry.positions.items()} == next_offset
    assert next_offset == log.committed == {0: 13, 1: 10}
    totals: Counter[str] = Counter()
    for entry in entries:
        totals.update(entry.counts)
    assert totals["events"] + totals["dead_letters"] == 23
    assert totals["dead_letters"] == 6  # 0, 4, 8, 12, 16, 20
    assert totals["learned"] + totals["duplicates"] == totals["events"]
    assert totals["duplicates"] == 1
    assert totals["lists"] == len(lists(log))


def test_a_failed_transaction_publishes_nothing_and_the_next_worker_repeats_the_batch() -> None:
    log = MemoryLog()
    produce(log, event_bytes("ana", "a"), event_bytes("ben", "b"))

    def fail(instant: str) -> None:
        if instant == "transaction_begun":
            raise OSError("the line is dead")

    with pytest.raises(TransactionInDoubt, match="the line is dead"):
        make_pipeline(log, watch=fail).run_once()
    assert log.topics == {}
    assert log.committed == {}

    run_dry(make_pipeline(log))
    assert sorted(one.user for one in lists(log)) == ["ana", "ben"]
    assert [entry.epoch for entry in journal(log)] == [1]


def test_a_worker_that_was_overtaken_publishes_nothing() -> None:
    log = MemoryLog()
    produce(log, event_bytes("ana", "a"))
    zombie = make_pipeline(log)
    make_pipeline(log)

    with pytest.raises(FencedError):
        zombie.run_once()
    assert log.topics == {}


def test_a_restarted_worker_goes_on_with_offsets_and_epochs_and_with_what_it_has_learned() -> None:
    log = MemoryLog()
    produce(log, *(event_bytes(f"u{number}", "a") for number in range(10)))
    run_dry(make_pipeline(log))
    produce(log, event_bytes("zoe", "a"))

    restarted = make_pipeline(log)
    run_dry(restarted)

    assert restarted.recovered.num_batches == 2
    assert [(entry.epoch, entry.origin) for entry in journal(log)] == [(1, 0), (2, 0), (3, 0)]
    assert Counter(one.user for one in lists(log)) == Counter([*(f"u{number}" for number in range(10)), "zoe"])


def test_a_repeated_event_is_counted_and_not_learned() -> None:
    log = MemoryLog()
    produce(log, event_bytes("ana", "a", id="e1"), event_bytes("ana", "a", id="e1"), event_bytes("ben", "b"))

    (report,) = run_dry(make_pipeline(log))

    assert report.encoded.num_duplicates == 1
    assert report.step.num_learned == 2
    assert len(lists(log)) == 2


def test_a_late_event_never_becomes_the_newest_of_its_user() -> None:
    log = MemoryLog()
    produce(log, event_bytes("ana", "new", ts=NOW_MS), event_bytes("ana", "old", ts=NOW_MS - 86_400_000))

    (report,) = run_dry(make_pipeline(log))

    assert report.step.num_late == 1
    assert [one.event_ts for one in lists(log)] == [NOW_MS]


def test_a_list_after_a_late_event_still_says_how_new_the_newest_event_is_that_it_knows() -> None:
    log = MemoryLog()
    pipeline = make_pipeline(log)
    produce(log, event_bytes("ana", "new", ts=NOW_MS))
    run_dry(pipeline)
    produce(log, event_bytes("ana", "old", ts=NOW_MS - 86_400_000))

    run_dry(pipeline)

    assert [one.event_ts for one in lists(log)] == [NOW_MS, NOW_MS]


def test_an_event_whose_key_is_not_its_user_is_counted() -> None:
    log = MemoryLog()
    log.produce(event_bytes("ana", "a"), key=b"ben", timestamp_ms=NOW_MS)
    log.produce(event_bytes("ana", "a"), key=b"ana", timestamp_ms=NOW_MS)
    log.produce(event_bytes("ana", "a"), key=None, timestamp_ms=NOW_MS)

    (report,) = run_dry(make_pipeline(log))

    assert report.encoded.key_mismatches == {"missing": 1, "other": 1}


@pytest.mark.slow
def test_more_users_and_items_than_the_tables_hold_are_served_all_the_same() -> None:
    settings = small_settings(model={"user_capacity": 1000, "item_capacity": 100}, batching={"max_events": 50})
    log = MemoryLog()
    produce(log, *(event_bytes(f"u{number}", f"i{number}") for number in range(1200)))
    pipeline = make_pipeline(log, settings)

    run_dry(pipeline)

    assert len(lists(log)) == 1200
    assert (len(pipeline.state.encoder.users), pipeline.state.encoder.users.num_evictions) == (1000, 200)
    assert (len(pipeline.state.encoder.items), pipeline.state.encoder.items.num_evictions) == (100, 1100)


def test_a_partition_share_too_small_for_a_batch_is_refused_before_the_running_worker_is_ended() -> None:
    settings = small_settings(model={"user_capacity": 1000}, batching={"max_events": 600})
    log = MemoryLog(num_partitions=2)

    with pytest.raises(RefusedToStart, match="500 user rows"):
        make_pipeline(log, settings)

    assert log.owner == 0


def test_a_journal_that_cannot_be_read_refuses_the_start() -> None:
    log = MemoryLog()
    log.topics["millstream.journal"] = [
        OutRecord("millstream.journal", b"millstream-0", b'{"epoch":1,"chain":"","positions":3}')
    ]

    with pytest.raises(RefusedToStart, match="expected a record of the journal"):
        make_pipeline(log)


@pytest.mark.slow
def test_the_same_log_and_seed_publish_the_same_lists() -> None:
    published = []
    for _ in range(2):
        log = MemoryLog(num_partitions=3)
        for number in range(60):
            produce(log, event_bytes(f"u{number % 7}", f"i{number * 5 % 11}", "click"), partition=number % 3)
        run_dry(make_pipeline(log))
        published.append([(record.key, record.value) for record in log.published("recommendations")])

    assert published[0] == published[1]
    assert len(published[0]) > 20


def test_a_clock_far_behind_that_of_the_journal_is_refused_before_a_good_event_becomes_a_dead_letter() -> None:
    log, settings = MemoryLog(), small_settings()
    produce(log, event_bytes("ana", "a", "click"))
    run_dry(make_pipeline(log))  # at NOW_MS + 5

    def run_at(wall_ms: int, settings: Settings = settings) -> int:
        produce(log, event_bytes("ana", "a", "click"))
        clocks = Clocks(monotonic=SteppingClock(), wall_ms=lambda: wall_ms)
        return len(run_dry(memory_pipeline(log, settings, MemoryTransport(log), clocks=clocks)))

    with pytest.raises(RefusedToStart, match=r"172800 s behind.*expected at most 300 s.*max_clock_behind_seconds"):
        run_at(NOW_MS + 5 - 172_800_000)
    assert len(journal(log)) == 1
    assert run_at(NOW_MS + 5 - 300_000) == 1  # with the event that was refused
    assert run_at(NOW_MS + 5 - 300_000 - 172_800_000, small_settings(worker={"max_clock_behind_seconds": 172_800})) == 1


def test_a_clock_that_is_set_back_while_it_runs_ends_the_worker_before_the_batch_is_published() -> None:
    log, now_ms = MemoryLog(), NOW_MS
    clocks = Clocks(monotonic=SteppingClock(), wall_ms=lambda: now_ms)
    pipeline = memory_pipeline(log, small_settings(), MemoryTransport(log), clocks=clocks)
    produce(log, event_bytes("ana", "a", "click"))
    run_dry(pipeline)

    now_ms -= 172_800_000
    produce(log, event_bytes("ana", "b", "click"))

    with pytest.raises(RefusedToStart, match="clock of this machine"):
        pipeline.run_once()
    assert len(journal(log)) == 1
    assert log.published("events.dlq") == []


def test_an_event_under_the_id_of_another_one_is_learned_and_counted_and_so_is_a_user_in_two_partitions() -> None:
    log = MemoryLog(num_partitions=2)
    log.produce(event_bytes("ana", "a", id="ana"), key=b"ana", partition=0)
    log.produce(event_bytes("ana", "b", id="ana"), key=b"ana", partition=0)
    log.produce(event_bytes("ana", "b", id="ana"), key=b"ana", partition=0)
    log.produce(event_bytes("ana", "c"), key=b"ana", partition=1)
    log.produce(event_bytes("ben", "c"), key=b"ben", partition=1)
    pipeline = make_pipeline(log)

    (report,) = run_dry(pipeline)

    encoded = report.encoded
    assert (report.step.num_learned, encoded.num_duplicates) == (4, 1)
    assert (encoded.num_reused_ids, encoded.num_split_users) == (1, 1)
    counts = {name: pipeline.newest.counts[name] for name in ("reused_ids", "split_users")}  # type: ignore[union-attr]
    assert counts == {"reused_ids": 1, "split_users": 1}

    log.produce(event_bytes("ana", "d"), key=b"ana", partition=1)  # is known there by now
    log.produce(event_bytes("ben", "d"), key=b"ben", partition=0)  # comes to a second one now

    (report,) = run_dry(pipeline)
    assert report.encoded.num_split_users == 1
