"""What a worker refuses to start from, with what to do."""

from typing import Any

import msgspec
import pytest

from stream.durability.start_point import Beginning
from stream.errors import RefusedToStart
from stream.wire.fingerprint import chained
from tests.support.lives import Lives, batches, fast_settings, refusal, same

FRESH = Beginning("cold")
REBUILT = Beginning("beginning")


# What is refused.


def test_an_entry_missing_from_the_journal_is_refused(lives: Lives) -> None:
    batches(lives, 5)
    entries = lives.journal()
    lives.rewrite_journal([*entries[:2], *entries[3:]])

    message = refusal(lives)

    assert "epoch 3 is needed and is not there; the next one is 4" in message
    assert "--cold" in message
    assert "--from-beginning" in message


@pytest.mark.parametrize(
    "changed",
    [{"decoded_at_ms": 1}, {"settings_since": 1}, {"origin": 1}, {"positions": {0: 1}}, {"config_hash": "f" * 16}],
    ids=str,
)
def test_an_entry_that_was_changed_is_refused(lives: Lives, changed: dict[str, Any]) -> None:
    batches(lives, 5)
    entries = lives.journal()
    entries[2] = msgspec.structs.replace(entries[2], **changed)
    lives.rewrite_journal(entries)

    assert "epoch 3 does not continue what" in refusal(lives)


def test_a_newest_entry_that_is_not_the_one_the_checkpoint_was_made_at_is_refused(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    entries = lives.journal()
    other = msgspec.structs.replace(entries[1], decoded_at_ms=1)
    lives.rewrite_journal([entries[0], msgspec.structs.replace(other, chain=chained(entries[0].chain, other))])

    message = refusal(lives)

    assert "epoch 2 does not continue what" in message
    assert "another cluster" in message


def test_records_that_retention_took_are_refused_with_what_would_be_lost(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 3)
    for partition in (0, 1):
        lives.log.truncate(partition, lives.log.committed[partition])

    message = refusal(lives)

    assert "retention overtook the newest usable checkpoint (epoch 2)" in message
    assert "the log holds" in message
    assert "--cold" in message
    assert "checkpoints.interval_seconds" in message


def test_records_that_a_checkpoint_already_knows_may_be_gone(lives: Lives) -> None:
    batches(lives, 2)
    gone = dict(lives.log.committed)
    lives.lives[-1].checkpoint()
    before = batches(lives, 3)
    for partition in (0, 1):
        lives.log.truncate(partition, gone[partition])

    assert same(lives.start().state(), before)


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize(
    "changed",
    [{"value": b'{"user":"x"}'}, {"key": b"other"}, {"timestamp_ms": 5}],
    ids=lambda fields: next(iter(fields)),
)
def test_records_that_are_not_those_that_were_learned_are_refused_in_any_case(
    lives: Lives, changed: dict[str, Any], accept: bool
) -> None:
    """Not even with --accept-difference: to leave out a batch in silence is no small difference."""
    batches(lives, 5)
    lives.log.partitions[0][2] = lives.log.partitions[0][2]._replace(**changed)

    message = refusal(lives, how=Beginning(accept_difference=accept))

    assert "are not those that were learned" in message
    assert "--from-beginning" in message


def test_a_checkpoint_newer_than_the_journal_is_refused(lives: Lives) -> None:
    batches(lives, 5)
    lives.lives[-1].checkpoint()
    lives.rewrite_journal(lives.journal()[:3])

    message = refusal(lives)

    assert "checkpoint epoch-000000000005 knows epoch 5, and the newest one in topic millstream.journal is 3" in message
    assert "--cold" in message


@pytest.mark.parametrize(("how", "origin"), [(FRESH, 3), (REBUILT, 0)])
def test_the_way_out_that_a_lost_tail_of_the_journal_is_answered_with_is_not_refused_at_the_next_start(
    lives: Lives, how: Beginning, origin: int
) -> None:
    batches(lives, 5)
    lives.lives[-1].checkpoint()
    lives.rewrite_journal(lives.journal()[:3])
    lives.start(how=how)
    before = batches(lives, 1)

    assert [path.name[:25] for path in lives.folder.glob("set-aside-*")] == ["set-aside-epoch-000000000"]
    for _ in range(3):  # over the epoch of the old checkpoint
        life = lives.start()
        assert life.recovered.origin == origin
        assert same(life.state(), before)
        before = batches(lives, 1)


def test_a_lost_tail_that_held_a_cold_start_is_refused_too(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    lives.start(how=FRESH)
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.rewrite_journal(lives.journal()[:4])

    assert "knows epoch 6" in refusal(lives)


def test_a_cold_start_without_a_journal_sets_the_checkpoints_of_another_life_aside(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.log.topics.clear()
    lives.log.committed.clear()

    lives.start(how=FRESH)
    before = batches(lives, 1)

    assert same(lives.start().state(), before)


@pytest.mark.parametrize("how", [Beginning(), FRESH, REBUILT])
def test_checkpoints_of_another_worker_are_refused_and_left_alone_however_a_start_is_asked_for(
    lives: Lives, how: Beginning
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    before = sorted(path.name for path in lives.folder.iterdir())
    lives.log.topics.clear()
    lives.log.committed.clear()
    other = lives.settings.model_copy(
        update={"worker": lives.settings.worker.model_copy(update={"transactional_id": "other-0"})}
    )

    with pytest.raises(RefusedToStart, match=r"is of worker millstream-0.*give each a folder of its own"):
        lives.start(other, how)

    assert sorted(path.name for path in lives.folder.iterdir()) == before


def test_a_renamed_worker_goes_on_with_its_checkpoints_once_somebody_says_that_it_is_the_same(lives: Lives) -> None:
    before = batches(lives, 3)
    lives.lives[-1].checkpoint()
    update = {"transactional_id": "renamed-0", "resume_from": "journal"}
    renamed = lives.settings.model_copy(update={"worker": lives.settings.worker.model_copy(update=update)})

    life = lives.start(renamed)

    assert same(life.state(), before)
    assert life.recovered.num_batches == 0


def test_checkpoints_without_a_journal_are_refused(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.log.topics.clear()
    lives.log.committed.clear()

    message = refusal(lives)

    assert "topic millstream.journal is empty" in message
    assert "move the old checkpoints away" in message
    assert str(lives.folder) in message


@pytest.mark.parametrize("section", [{"worker": {"transactional_id": "b"}}, {"topics": {"events": "clicks"}}], ids=str)
def test_the_checkpoints_of_another_worker_or_topic_are_refused(
    lives: Lives, section: dict[str, dict[str, object]]
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()

    message = refusal(lives, fast_settings(**section))

    assert "is of worker millstream-0 on topic events, this is" in message
    assert "a folder of its own" in message


def test_another_number_of_partitions_is_refused_and_both_ways_out_lead_on(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    lives.log.partitions.append([])
    lives.log.begins.append(0)
    lives.num_partitions = 3

    message = refusal(lives)

    assert "has 3 partitions, and checkpoint epoch-000000000003 was made with 2" in message
    for how in (FRESH, REBUILT):
        lives.start(how=how)
        before = batches(lives, 1)
        assert same(lives.start().state(), before)


def test_a_checkpoint_of_another_format_version_is_refused_and_not_passed_over(lives: Lives) -> None:
    from hashlib import sha256

    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    path = lives.folder / lives.lives[-1].checkpoint() / "manifest.json"
    line = path.read_bytes().split(b"\n")[0].replace(b'"format_version":1', b'"format_version":2')
    path.write_bytes(line + b"\n" + sha256(line).hexdigest().encode() + b"\n")

    assert "version" in refusal(lives)


def test_an_epoch_without_a_checkpoint_cannot_be_asked_for(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()

    message = refusal(lives, how=Beginning("checkpoint", 1))

    assert "--from-checkpoint 1" in message
    assert "epoch-000000000002" in message
    assert "checkpoints.url is empty" in refusal(lives, how=Beginning("checkpoint", 1), with_store=False)


def test_a_journal_that_lists_what_the_model_does_not_make_is_refused_unless_accepted(lives: Lives) -> None:
    batches(lives, 2)
    entries = lives.journal()
    other = msgspec.structs.replace(entries[1], lists_hash="0" * 16)
    lives.rewrite_journal([entries[0], msgspec.structs.replace(other, chain=chained(entries[0].chain, other))])

    message = refusal(lives)

    assert "epoch 2: the model makes other lists" in message
    assert "--accept-difference" in message
    life = lives.start(how=Beginning(accept_difference=True))
    assert life.recovered.num_batches == 2


def test_a_model_on_a_gpu_may_make_other_lists_but_not_learn_other_events(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 2)
    first, second = lives.journal()
    lists = msgspec.structs.replace(second, lists_hash="0" * 16)
    events = msgspec.structs.replace(second, applied_hash="0" * 16)
    monkeypatch.setattr("online_models.OnlineLearner.device", "cuda")

    lives.rewrite_journal([first, msgspec.structs.replace(lists, chain=chained(first.chain, lists))])
    assert lives.start().recovered.num_batches == 2

    lives.rewrite_journal([first, msgspec.structs.replace(events, chain=chained(first.chain, events))])
    assert "other events were learned" in refusal(lives)


def test_a_second_recovery_in_one_process_neither_waits_for_its_own_lock_nor_ends_its_own_writing(lives: Lives) -> None:
    batches(lives, 2)
    life = lives.lives[-1]
    unfinished = lives.folder / ".tmp-epoch-000000000002-00000000"
    unfinished.mkdir()
    lock = (lives.folder / "lock.json").stat().st_ino

    life.recovery.recover(lives.journal()[-1], life.pipeline.positions(), Beginning())

    assert unfinished.is_dir()
    assert (lives.folder / "lock.json").stat().st_ino == lock
    life.checkpoint()
