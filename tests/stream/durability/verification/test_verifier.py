"""Verification finds the stream equal that is, and every kind of change at its epoch and by its name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from online_models import flatten, unflatten
from stream.durability.start_point import Beginning
from stream.durability.verification import Parted
from stream.errors import ConfigError, RefusedToStart, VerificationFailed
from stream.wire.fingerprint import add_records, hex_digits
from stream.wire.records import OutRecord
from stream.wire.schema import OffsetRange
from tests.support.events import NOW_MS, event_bytes, small_settings
from tests.support.lives import fast_settings
from tests.support.past_streams import Stream

END = 20


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return Stream(tmp_path_factory.mktemp("lived")).eventful()


@pytest.fixture
def stream(lived: Stream, tmp_path: Path) -> Stream:
    return lived.copy(tmp_path / "checkpoints")


def parted(stream: Stream, **options: Any) -> Parted:
    with pytest.raises(Parted) as raised:
        stream.verify(**options)
    assert raised.value.exit_code == VerificationFailed.exit_code
    return raised.value


# What is equal.


@pytest.mark.slow
def test_a_stream_with_kills_repetitions_and_dead_letters_is_equal(stream: Stream) -> None:
    report = stream.verify()

    assert (report.first_epoch, report.last_epoch, report.num_epochs, report.num_records) == (1, END, END, 160)
    assert report.num_checkpoints == 2
    assert report.num_lists == report.num_lists_there == len(stream.lists())
    everything = [record for partition in stream.log.partitions for record in partition]
    assert report.records_hash == hex_digits(add_records(0, everything))
    assert report.applied_hash == stream.journal()[-1].applied_hash
    counts = [entry.counts for entry in stream.journal()]
    assert sum(count["duplicates"] for count in counts) > 0, "this test needs repetitions"
    assert sum(count["dead_letters"] for count in counts) == 22
    assert report.offsets_are_equal
    assert report.remarks == []
    assert str(report) == f"equal: 20 epochs, 160 records, 2 checkpoints, {len(stream.lists())} lists"


@pytest.mark.slow
def test_nothing_is_changed_by_looking(stream: Stream) -> None:
    before = (stream.log.topics, stream.log.committed, stream.log.owner, sorted(stream.folder.rglob("*")))
    was = json.dumps([[repr(record) for record in records] for records in stream.log.topics.values()])

    stream.verify()

    assert before == (stream.log.topics, stream.log.committed, stream.log.owner, sorted(stream.folder.rglob("*")))
    assert was == json.dumps([[repr(record) for record in records] for records in stream.log.topics.values()])


@pytest.mark.slow
def test_a_compacted_topic_of_lists_is_equal(stream: Stream) -> None:
    num_lists = len(stream.lists())
    stream.compact()

    report = stream.verify()

    assert (report.num_lists, report.num_lists_there) == (num_lists, 11)


@pytest.mark.slow
def test_a_user_that_was_erased_is_not_missed(stream: Stream) -> None:
    stream.compact()
    (place,) = [at for at, record in enumerate(stream.lists()) if record.key == b"u3"]
    stream.lists()[place] = OutRecord("recommendations", b"u3", None)

    assert stream.verify().remarks == ["1 users are erased from recommendations"]


@pytest.mark.slow
def test_until_stops_before_what_comes_after(stream: Stream) -> None:
    stream.change_entry(15, lists_hash="0" * 16, relinked=True)

    assert stream.verify(until=14).num_epochs == 14
    assert parted(stream).difference.epoch == 15


@pytest.mark.slow
def test_from_a_checkpoint_only_what_came_after_is_learned_again(stream: Stream) -> None:
    report = stream.verify(first=4)

    assert (report.start, report.num_epochs, report.num_checkpoints) == ("epoch-000000000004", 16, 1)
    assert report.digest == stream.verify().digest


@pytest.mark.slow
def test_a_worker_may_commit_meanwhile(stream: Stream) -> None:
    stream.start()
    worker = stream.pipeline
    assert worker is not None
    stream.send(80)
    epochs: list[int] = []

    def go_on(epoch: int, last: int, _what: str) -> None:
        epochs.append(last)
        worker.run_once()

    assert stream.verify(progress=go_on).last_epoch == END
    assert set(epochs) == {END}
    assert worker.epoch > END
    assert stream.verify().last_epoch == worker.epoch


@pytest.mark.slow
def test_when_the_log_no_longer_holds_the_beginning_it_begins_at_the_oldest_checkpoint_and_says_so(
    stream: Stream,
) -> None:
    stream.log.truncate(0, 1)

    report = stream.verify()

    assert (report.start, report.first_epoch, report.num_epochs) == ("epoch-000000000004", 5, 16)
    assert "could not begin from an untrained model after epoch 0" in report.remarks[0]
    with pytest.raises(RefusedToStart, match="nothing left to begin from"):
        stream.verify(first=0)


@pytest.mark.slow
def test_a_journal_that_no_longer_holds_the_beginning_needs_a_checkpoint(stream: Stream) -> None:
    stream.write_journal(stream.journal()[3:])

    report = stream.verify()

    assert (report.start, report.num_epochs) == ("epoch-000000000004", 16)
    assert report.remarks == ["the journal begins at epoch 4"]


@pytest.mark.slow
def test_without_checkpoints_and_beginning_there_is_nothing_to_begin_from(stream: Stream) -> None:
    stream.write_journal(stream.journal()[6:])
    for name in stream.store.names():
        if name.endswith("12"):
            continue
        (stream.folder / name / "manifest.json").unlink()

    report = stream.verify()
    assert (report.start, report.num_epochs) == ("epoch-000000000012", 8)
    (stream.folder / "epoch-000000000012" / "manifest.json").unlink()
    with pytest.raises(RefusedToStart, match=r"the journal begins at epoch 7\. Possible: nothing"):
        stream.verify()


def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(stream: Stream) -> None:
    with pytest.raises(RefusedToStart, match=r"epoch 5.*epoch-000000000004, epoch-000000000012"):
        stream.verify(first=5)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_a_difference(stream: Stream) -> None:
    (file,) = (stream.folder / "epoch-000000000012").glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)

    found = parted(stream).difference

    assert (found.epoch, found.what) == (12, "checkpoint epoch-000000000012")
    assert "SHA-256" in found.found


# Lives.


@pytest.mark.slow
def test_after_a_change_of_settings_it_begins_at_the_checkpoint_where_they_changed(stream: Stream) -> None:
    stream.start()
    changed_at = stream.checkpoint()
    stream.settings = small_settings(evidence={"click": 0.9})
    stream.start(Beginning(accept_model_change=True))
    stream.send(40)
    stream.work()

    report = stream.verify()

    assert (report.start, report.first_epoch) == (changed_at, END + 1)
    assert "settings that decide what is learned changed after epoch 20" in report.remarks[0]
    with pytest.raises(RefusedToStart, match="settings that decide what is learned changed"):
        stream.verify(first=0)
    stream.settings = small_settings()
    assert stream.verify(until=END).num_epochs == END


def test_other_settings_are_refused_with_what_differs(stream: Stream) -> None:
    stream.settings = small_settings(evidence={"click": 0.9})

    with pytest.raises(ConfigError, match=r"evidence\.click was 0\.5 and is 0\.9"):
        stream.verify()


@pytest.mark.slow
def test_a_cold_start_on_the_way_is_a_new_model_and_equal(stream: Stream) -> None:
    stream.start(Beginning("cold"))
    stream.send(40)
    stream.work()

    report = stream.verify()

    assert (report.num_epochs, report.num_checkpoints) == (25, 3)
    assert stream.journal()[-1].origin == END


@pytest.mark.slow
def test_a_rebuilt_model_is_equal_although_others_learned_before_it(stream: Stream) -> None:
    stream.start(Beginning("cold"))
    stream.send(40)
    stream.work()
    stream.start(Beginning("beginning"))
    stream.send(40)
    stream.work()

    report = stream.verify()

    assert [entry.origin for entry in stream.journal()] == [0] * 20 + [20] * 5 + [0] * 5
    assert (report.num_epochs, report.num_checkpoints) == (30, 4)


# What is not equal.


def changed(number: int) -> Callable[[Stream], None]:
    def change(stream: Stream) -> None:
        entry = stream.journal()[number - 1]
        stream.change_entry(number, decoded_at_ms=entry.decoded_at_ms + 1)

    return change


def lost(number: int) -> Callable[[Stream], None]:
    return lambda stream: stream.write_journal([entry for entry in stream.journal() if entry.epoch != number])


def relinked(number: int, **fields: Any) -> Callable[[Stream], None]:
    return lambda stream: stream.change_entry(number, relinked=True, **fields)


def counted(stream: Stream) -> None:
    counts = stream.journal()[6].counts
    stream.change_entry(7, relinked=True, counts=counts | {"duplicates": counts["duplicates"] + 1})


def shifted(stream: Stream) -> None:
    entry = stream.journal()[6]
    (name, span), *_ = entry.partitions.items()
    stream.change_entry(7, relinked=True, partitions=entry.partitions | {name: OffsetRange(span.first - 1, span.next)})


def input_changed(stream: Stream) -> None:
    entry = stream.journal()[8]
    (name, span), *_ = entry.partitions.items()
    records = stream.log.partitions[int(name)]
    records[span.first] = records[span.first]._replace(value=b'{"user": "u0", "item": "i1", "type": "view"}')


def skipped(stream: Stream) -> None:
    entry = stream.journal()[8]
    name, span = next((name, span) for name, span in entry.partitions.items() if span.next - span.first > 1)
    stream.change_entry(9, relinked=True, partitions=entry.partitions | {name: OffsetRange(span.first + 1, span.next)})


def list_changed(stream: Stream) -> None:
    place = stream.place_of_list(10)
    record = stream.lists()[place]
    value = json.loads(record.value or b"")
    value["items"][0]["item"] = "i-never"
    stream.lists()[place] = replace(record, value=json.dumps(value, separators=(",", ":")).encode())


def list_doubled(stream: Stream) -> None:
    place = stream.place_of_list(10)
    stream.lists().insert(place, stream.lists()[place])


def list_extra(stream: Stream) -> None:
    place = stream.place_of_list(10)
    value = json.loads(stream.lists()[place].value or b"") | {"user": "mallory"}
    stream.lists().insert(place, OutRecord("recommendations", b"mallory", json.dumps(value).encode()))


def list_missing(stream: Stream) -> None:
    places = [at for at, record in enumerate(stream.lists()) if record.key == b"u4"]
    del stream.lists()[places[-1]]


def list_repeated_late(stream: Stream) -> None:
    place = stream.place_of_list(10)
    stream.lists().append(stream.lists().pop(place))


def list_of_the_future(stream: Stream) -> None:
    record = stream.lists()[-1]
    value = json.loads(record.value or b"") | {"epoch": END + 3}
    stream.lists().append(replace(record, value=json.dumps(value).encode()))


def no_list(stream: Stream) -> None:
    stream.lists().append(OutRecord("recommendations", b"u1", b"hello"))


def group_moved(stream: Stream) -> None:
    stream.log.committed[1] -= 2


def newest_entry_lost(stream: Stream) -> None:
    stream.write_journal(stream.journal()[:-1])


TAMPERINGS: dict[str, tuple[Callable[[Stream], None], int, str]] = {
    "a changed journal entry": (changed(6), 6, "the chain"),
    "a changed first entry": (changed(1), 1, "the chain"),
    "a changed entry, chain made right": (relinked(7, records_hash="0" * 16), 7, "records are not those"),
    "an applied hash, chain made right": (relinked(7, applied_hash="0" * 16), 7, "other events were learned"),
    "a lists hash, chain made right": (relinked(7, lists_hash="0" * 16), 7, "the model makes other lists"),
    "the clock of the lists": (relinked(7, generated_at_ms=5), 7, "the model makes other lists"),
    "counts": (counted, 7, "the journal's count of duplicates"),
    "offsets that overlap": (shifted, 7, "the journal's offsets of events["),
    "a lost journal entry": (lost(6), 6, "the journal's entry"),
    "the newest entry lost": (newest_entry_lost, END, "list of user"),
    "a changed input record": (input_changed, 9, "records are not those"),
    "a record that no batch holds": (skipped, 9, "which no batch holds"),
    "a changed list": (list_changed, 10, "list of user"),
    "a doubled list": (list_doubled, 10, "list of user"),
    "a list that was never computed": (list_extra, 10, "list of user 'mallory'"),
    "an old list after a newer one": (list_repeated_late, 10, "list of user"),
    "a list after the end of the journal": (list_of_the_future, END + 3, "list of user"),
    "something that is no list": (no_list, END, "the record recommendations[0]@"),
    "offsets of the group": (group_moved, END, "committed offsets of group millstream"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_change_is_found_at_its_epoch_and_named(stream: Stream, name: str) -> None:
    tamper, epoch, what = TAMPERINGS[name]
    tamper(stream)

    found = parted(stream).difference

    assert (found.epoch, what in found.what) == (epoch, True), str(found)
    assert found.expected != found.found


@pytest.mark.slow
def test_a_missing_list_is_found_where_it_was_its_users_newest(stream: Stream) -> None:
    (*_, newest) = [json.loads(r.value or b"")["epoch"] for r in stream.lists() if r.key == b"u4"]
    list_missing(stream)

    found = parted(stream).difference

    assert (found.epoch, found.what) == (newest, "list of user 'u4' in recommendations")
    assert found.found.startswith("none newer than that of epoch")


@pytest.mark.slow
def test_a_changed_list_is_shown_by_its_first_different_place(stream: Stream) -> None:
    list_changed(stream)

    found = parted(stream).difference

    assert found.expected.startswith('at place 1 {"item":"i')
    assert found.found.startswith('{"item":"i-never"')


@pytest.mark.slow
def test_of_two_changes_the_earlier_is_told(stream: Stream) -> None:
    input_changed(stream)
    changed(6)(stream)
    assert parted(stream).difference.epoch == 6

    other = stream
    changed(15)(other)
    assert parted(other).difference.epoch == 6


@pytest.mark.slow
def test_a_change_of_the_input_is_told_before_a_later_break_of_the_chain(stream: Stream) -> None:
    input_changed(stream)
    changed(15)(stream)

    assert parted(stream).difference.epoch == 9


@pytest.mark.slow
def test_a_checkpoint_whose_state_was_altered_with_checksums_made_anew_is_found(stream: Stream) -> None:
    name = "epoch-000000000012"
    manifest, saved = stream.store.load(name)
    flat = {path: array.copy() for path, array in flatten(saved).items()}
    path = next(path for path in flat if path.startswith("learner/fusion") and flat[path].dtype == np.float32)
    flat[path] = flat[path] + np.float32(0.25)  # type: ignore[operator]
    stream.store.write(manifest.moment, unflatten(flat), manifest.created_at_ms)
    stream.store.load(name)  # it looks whole

    found = parted(stream).difference

    assert found.epoch == 12
    assert found.what == f"checkpoint {name}: {path}: the digest of the state"


@pytest.mark.slow
def test_a_checkpoint_with_other_totals_is_found(stream: Stream) -> None:
    manifest, saved = stream.store.load("epoch-000000000012")
    import msgspec

    totals = manifest.moment.totals | {"events": 1}
    stream.store.write(msgspec.structs.replace(manifest.moment, totals=totals), saved, manifest.created_at_ms)

    assert parted(stream).difference.what == "checkpoint epoch-000000000012: its totals"


@pytest.mark.slow
def test_a_group_without_offsets_is_remarked_and_no_difference(stream: Stream) -> None:
    stream.log.committed.clear()

    report = stream.verify()

    assert "no committed offsets" in report.remarks[0]
    assert not report.offsets_are_equal


def split(tmp_path: Path) -> Stream:
    """Return a stream whose user ana came in both partitions within one batch."""
    stream = Stream(tmp_path / "checkpoints", fast_settings())
    stream.start()
    for number, item in enumerate("abab"):
        value = event_bytes("ana", item, "click")
        stream.log.produce(value, key=b"ana", partition=number % 2, timestamp_ms=NOW_MS)
    stream.work()
    return stream


def test_two_lists_of_a_user_who_came_in_two_partitions_are_equal_also_when_compaction_took_the_older(
    tmp_path: Path,
) -> None:
    stream = split(tmp_path)
    assert [record.key for record in stream.lists()] == [b"ana", b"ana"]

    assert (stream.verify().num_lists, stream.verify().num_lists_there) == (2, 2)
    stream.compact()
    assert (stream.verify().num_lists, stream.verify().num_lists_there) == (2, 1)


def test_a_third_list_of_such_a_user_and_two_in_the_wrong_order_are_found(tmp_path: Path) -> None:
    stream = split(tmp_path)
    stream.lists().reverse()
    with pytest.raises(Parted, match="list of user 'ana'"):
        stream.verify()

    stream.lists().reverse()
    stream.lists().append(stream.lists()[-1])
    with pytest.raises(Parted, match="expected it 2 times"):
        stream.verify()
