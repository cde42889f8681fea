"""A past moment is rebuilt bit for bit, from the nearest start, or it is said why that cannot be."""

import json
from pathlib import Path

import pytest

from online_models import digest
from online_models.scorers.registry import CHANNELS
from stream.durability.checkpoints import CheckpointStore
from stream.durability.point_in_time import Past, Start, moment_of, settings_of
from stream.durability.start_point import Beginning
from stream.errors import ConfigError, RecordsGone, RefusedToStart, VerificationFailed
from stream.learning.user_view import view_user
from tests.support.events import small_settings
from tests.support.past_streams import Stream


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    return Stream(tmp_path_factory.mktemp("lived")).eventful()


@pytest.fixture
def stream(lived: Stream, tmp_path: Path) -> Stream:
    return lived.copy(tmp_path / "checkpoints")


@pytest.mark.slow
def test_every_epoch_has_the_digest_that_the_worker_had_then(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.send(64)
    worker = stream.start()
    digests: dict[int, str] = {}
    for _ in range(8):
        stream.work(1)
        digests[worker.epoch] = digest(worker.state.state())
        if worker.epoch == 5:
            stream.checkpoint()

    for epoch, expected in digests.items():
        rebuilt = stream.past().rebuild(stream.past().entry(epoch))
        assert digest(rebuilt.state.state()) == expected, epoch
        assert rebuilt.start == (Start(0) if epoch < 5 else Start(5, "epoch-000000000005"))
        assert rebuilt.num_batches == (epoch if epoch < 5 else epoch - 5)


@pytest.mark.slow
def test_the_lists_of_a_batch_are_made_again_byte_for_byte(stream: Stream) -> None:
    for epoch in (1, 7, 12):
        rebuilt = stream.past().rebuild(stream.past().entry(epoch), with_lists=True)

        published = [r for r in stream.lists() if json.loads(r.value or b"")["epoch"] == epoch]
        assert [(r.key, r.value) for r in rebuilt.lists or []] == [(r.key, r.value) for r in published]
        assert published


@pytest.mark.slow
def test_for_the_lists_of_a_checkpoints_own_batch_the_one_before_it_is_taken(stream: Stream) -> None:
    past = stream.past()

    assert past.rebuild(past.entry(12)).start.epoch == 12
    assert past.rebuild(past.entry(12), with_lists=True).start.epoch == 4


def test_if_only_the_checkpoint_itself_is_left_there_is_a_state_but_no_lists(stream: Stream) -> None:
    for partition, position in stream.journal()[11].positions.items():
        stream.log.truncate(int(partition), position)
    past = stream.past()

    rebuilt = past.rebuild(past.entry(12), with_lists=True)

    assert (rebuilt.start.epoch, rebuilt.lists) == (12, None)


def test_an_epoch_that_is_not_in_the_journal_is_answered_with_those_that_are(stream: Stream) -> None:
    for epoch in (21, 400, -3):
        with pytest.raises(RefusedToStart, match=f"epoch {epoch} is not in the journal, which holds epochs 1 to 20"):
            stream.past().entry(epoch)


def test_an_empty_journal_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(RefusedToStart, match="nothing to look at"):
        Stream(tmp_path).past().entry(None)


def test_records_that_are_gone_are_named_with_what_can_still_be_rebuilt(stream: Stream) -> None:
    stream.log.truncate(0, 1)

    with pytest.raises(RecordsGone, match=r"epoch 1 was made of.*epoch 3 cannot be rebuilt from an untrained model"):
        stream.past().rebuild(stream.past().entry(3))
    assert stream.past().rebuild(stream.past().entry(5)).start.epoch == 4


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_remarked(stream: Stream) -> None:
    (file,) = (stream.folder / "epoch-000000000012").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    past = stream.past()

    rebuilt = past.rebuild(past.entry(14))

    assert rebuilt.start.epoch == 4
    assert "epoch-000000000012" in past.remarks[0]


def test_other_settings_are_refused_with_both_values(stream: Stream) -> None:
    stream.settings = small_settings(model={"seed": 5})

    with pytest.raises(ConfigError, match=r"model\.seed was 1 and is 5"):
        stream.past().rebuild(stream.past().entry(7))


@pytest.mark.slow
def test_a_model_of_changed_settings_needs_the_checkpoint_where_they_changed(stream: Stream) -> None:
    stream.start()
    changed_at = stream.checkpoint()
    stream.settings = small_settings(evidence={"click": 0.9})
    worker = stream.start(Beginning(accept_model_change=True))
    stream.send(40)
    stream.work()
    past = stream.past()

    rebuilt = past.rebuild(past.entry(23))
    assert rebuilt.start == Start(20, changed_at)
    at_the_end = past.rebuild(past.entry(worker.epoch))
    assert digest(at_the_end.state.state()) == digest(worker.state.state())
    for file in (stream.folder / changed_at).iterdir():
        file.unlink()
    with pytest.raises(RefusedToStart, match="only a checkpoint of epoch 20 to 23 leads there"):
        stream.past().rebuild(past.entry(23))


@pytest.mark.slow
def test_a_model_that_was_made_anew_is_rebuilt_with_what_it_began_with(stream: Stream) -> None:
    stream.start(Beginning("cold"))
    stream.send(16)
    stream.work()
    worker = stream.start(Beginning("beginning"))
    stream.send(16)
    stream.work()
    past = stream.past()

    cold = past.rebuild(past.entry(22))
    assert (cold.start.epoch, cold.entry.origin) == (20, 20)
    assert digest(past.rebuild(past.entry(worker.epoch)).state.state()) == digest(worker.state.state())


def test_a_changed_record_on_the_way_is_not_glossed_over(stream: Stream) -> None:
    entry = stream.journal()[6]
    (name, span), *_ = entry.partitions.items()
    records = stream.log.partitions[int(name)]
    records[span.first] = records[span.first]._replace(value=b"{}")

    with pytest.raises(VerificationFailed, match="epoch 7: its 8 records are not those that were learned"):
        stream.past().rebuild(stream.past().entry(9))


def test_a_user_is_shown_with_history_newest_first_and_a_list_with_reasons(stream: Stream) -> None:
    rebuilt = stream.past().rebuild(stream.past().entry(20))

    view = view_user(rebuilt.state, rebuilt.state.state(), "u3", 3)

    # Records 3, 14, 25… are of u3; 60, 125 repeat an event, 55 + 7n + 6 are bad: see `Stream.send`.
    sent = [number for number in range(3, 160, 11) if number % 7 != 6]
    learned = [number for number in sent if number % 5 or number - 11 not in sent]
    done = [number if number % 5 else number - 11 for number in learned]
    assert [event.item for event in view.history] == [f"i{number * 7 % 17}" for number in reversed(done)]
    assert {event.type for event in view.history} == {"click"}
    assert view.partition == 1
    newest = next(r for r in reversed(stream.lists()) if r.key == b"u3")
    assert len(view.items) == 3
    assert set(view.channel_weights) == set(CHANNELS["sequence"])
    assert newest.value is not None
    held = {event.item for event in view.history}
    assert all(item.reason is None or item.reason in held for item in view.items)


def test_a_user_who_had_done_nothing_yet_is_refused(stream: Stream) -> None:
    rebuilt = stream.past().rebuild(stream.past().entry(1))

    with pytest.raises(RefusedToStart, match="user 'u9': not known at that moment"):
        view_user(rebuilt.state, rebuilt.state.state(), "u9", 3)


def test_a_rebuilt_state_can_be_written_as_a_checkpoint_and_be_the_same(stream: Stream, tmp_path: Path) -> None:
    rebuilt = stream.past().rebuild(stream.past().entry(7))
    moment, saved = moment_of(rebuilt, stream.settings), rebuilt.state.state()

    CheckpointStore(str(tmp_path / "out"), 9).write(moment, saved, 0)

    manifest, again = CheckpointStore(str(tmp_path / "out"), 9).load("epoch-000000000007")
    assert (manifest.moment.chain, digest(again)) == (stream.journal()[6].chain, digest(saved))
    assert settings_of(manifest.moment, small_settings(model={"k": 7})).model.k == 3


def test_progress_tells_every_batch(stream: Stream) -> None:
    told: list[tuple[int, int]] = []
    past = Past(stream.settings, stream.history(), stream.store, stream.new_state, lambda at, of: told.append((at, of)))

    past.rebuild(past.entry(15))

    assert told == [(13, 15), (14, 15), (15, 15)]


def test_to_look_at_checkpoints_makes_no_folder_and_needs_no_right_to_write(stream: Stream, tmp_path: Path) -> None:
    with pytest.raises(RefusedToStart, match="expected a folder with checkpoints, found none"):
        CheckpointStore(str(tmp_path / "nowhere"), 1, read_only=True)
    assert not (tmp_path / "nowhere").exists()

    before = stream.folder.stat().st_mtime_ns
    names = CheckpointStore(str(stream.folder), 1, read_only=True).names()
    assert names == ["epoch-000000000012", "epoch-000000000004"]
    assert stream.folder.stat().st_mtime_ns == before
