"""What a worker starts from after the one before it ended on any line: the newest checkpoint, another, or nothing."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from online_models import State, digest
from stream.config.settings import Settings
from stream.durability.start_point import Beginning
from stream.errors import TransactionInDoubt
from stream.learning.worker_state import WorkerState
from tests.support.lives import Lives, batches, damage, fast_settings, refusal, same, untrained

FRESH = Beginning("cold")
REBUILT = Beginning("beginning")


# What it starts from.


def test_without_a_journal_and_checkpoints_the_model_is_untrained(lives: Lives) -> None:
    life = lives.start()

    assert (life.recovered.epoch, life.recovered.origin, life.recovered.is_new) == (0, 0, False)
    assert digest(life.state()) == untrained(lives)


def test_the_newest_checkpoint_is_taken_and_only_the_batches_after_it_are_learned_again(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    before = batches(lives, 3)

    life = lives.start()

    assert life.recovered.checkpoint == "epoch-000000000004"
    assert (life.recovered.num_batches, life.recovered.epoch, life.recovered.num_records) == (3, 7, 12)
    assert same(life.state(), before)
    assert life.recovery.damaged == []


def test_a_checkpoint_of_the_newest_commit_leaves_nothing_to_learn_again(lives: Lives) -> None:
    before = batches(lives, 3)
    lives.lives[-1].checkpoint()

    life = lives.start()

    assert (life.recovered.num_batches, life.recovered.epoch) == (0, 3)
    assert same(life.state(), before)


def test_without_checkpoints_everything_is_learned_again(lives: Lives) -> None:
    before = batches(lives, 5)

    for with_store in (True, False):
        life = lives.start(with_store=with_store)

        assert (life.recovered.num_batches, life.recovered.checkpoint, life.recovered.is_new) == (5, None, False)
        assert same(life.state(), before)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    batches(lives, 2)
    older = lives.lives[-1].checkpoint()
    batches(lives, 2)
    newer = lives.lives[-1].checkpoint()
    before = batches(lives, 1)
    damage(lives.folder, newer)

    life = lives.start()

    assert (life.recovered.checkpoint, life.recovered.num_batches) == (older, 3)
    assert life.recovery.damaged == [newer]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["checkpoint_damaged"]
    assert same(life.state(), before)


@pytest.mark.parametrize("file", ["manifest.json", "state.safetensors"])
def test_a_checkpoint_without_one_of_its_files_is_damaged(lives: Lives, file: str) -> None:
    before = batches(lives, 2)
    name = lives.lives[-1].checkpoint()
    (lives.folder / name / file).unlink()

    life = lives.start()

    assert life.recovery.damaged == [name]
    assert same(life.state(), before)


def test_if_all_checkpoints_are_damaged_everything_is_learned_again_from_the_origin(lives: Lives) -> None:
    batches(lives, 2)
    names = [lives.lives[-1].checkpoint()]
    before = batches(lives, 2)
    names.append(lives.lives[-1].checkpoint())
    for name in names:
        damage(lives.folder, name)

    life = lives.start()

    assert (life.recovered.num_batches, life.recovered.origin) == (4, 0)
    assert life.recovery.damaged == names[::-1]
    assert same(life.state(), before)


def test_a_damaged_checkpoint_is_counted_once_however_often_recovery_meets_it(lives: Lives) -> None:
    batches(lives, 2)
    damage(lives.folder, lives.lives[-1].checkpoint())
    life = lives.start()

    life.recovery.recover(lives.journal()[-1], life.pipeline.positions(), Beginning())

    assert life.recovery.damaged == ["epoch-000000000002"]


def test_an_older_checkpoint_can_be_asked_for_and_leads_to_the_same_state(lives: Lives) -> None:
    batches(lives, 2)
    older = lives.lives[-1].checkpoint()
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    before = batches(lives, 1)

    life = lives.start(how=Beginning("checkpoint", 2))

    assert (life.recovered.checkpoint, life.recovered.num_batches) == (older, 3)
    assert same(life.state(), before)


def test_a_recovery_that_was_killed_and_begun_again_comes_to_the_same_state(lives: Lives) -> None:
    before = batches(lives, 6)

    class Killed(BaseException):
        pass

    for at in ("taken_over", "batch_relearned", "recovered"):

        def kill(instant: str, at: str = at) -> None:
            if instant == at:
                raise Killed

        with pytest.raises(Killed):
            lives.start(watch=kill)

    assert same(lives.start().state(), before)


def test_recovery_publishes_nothing_and_commits_nothing(lives: Lives) -> None:
    batches(lives, 5)
    published = {topic: list(records) for topic, records in lives.log.topics.items()}
    committed = dict(lives.log.committed)

    for how in (Beginning(), FRESH, REBUILT):
        lives.start(how=how)

        assert lives.log.topics == published
        assert lives.log.committed == committed


def test_what_follows_a_recovery_is_byte_for_byte_what_follows_without_one(tmp_path: Path) -> None:
    """Every batch is published by a worker of its own; the clock of each shows what the clock of the other did."""
    never, always = Lives(tmp_path / "never"), Lives(tmp_path / "always")
    for lives in (never, always):
        lives.produce(40)
        lives.start()
    for number in range(10):
        never.lives[-1].run(1)
        always.lives[-1].run(1)
        if number % 3 == 1:
            always.lives[-1].checkpoint()
        always.start()

    without = {"recommendations", "events.dlq"}
    assert {t: r for t, r in always.log.topics.items() if t in without} == {
        topic: records for topic, records in never.log.topics.items() if topic in without
    }
    assert [replace_told(entry) for entry in always.journal()] == [replace_told(entry) for entry in never.journal()]
    never.kill()
    always.kill()


def replace_told(entry: Any) -> Any:
    return msgspec.structs.replace(entry, checkpoint=None)


def test_a_batch_whose_commit_failed_is_learned_once_by_the_next_worker(lives: Lives) -> None:
    batches(lives, 2)
    lives.produce(4)

    for instant in ("records_flushed", "transaction_committed"):

        def fail(at: str, instant: str = instant) -> None:
            if at == instant:
                raise OSError("the line is dead")

        life = lives.start(watch=fail)
        with pytest.raises(TransactionInDoubt):
            life.run(1)
        assert life.pipeline.epoch == 2, "a checkpoint would be of what was not committed"

    life = lives.start()
    assert (life.recovered.epoch, len(life.run())) == (3, 0)
    assert life.pipeline.state.totals["events"] + life.pipeline.state.totals["dead_letters"] == 12


# Cold.


def test_a_cold_start_is_untrained_at_the_committed_offsets_and_is_written_down_at_once(lives: Lives) -> None:
    batches(lives, 3)

    life = lives.start(how=FRESH)

    assert digest(life.state()) == untrained(lives)
    assert (life.recovered.epoch, life.recovered.origin, life.recovered.settings_since) == (3, 3, 3)
    assert life.pipeline.checkpoint == "epoch-000000000003"
    assert life.run() == []


def test_a_cold_start_before_the_first_batch_is_an_ordinary_one(lives: Lives) -> None:
    assert lives.start(how=FRESH).recovered.is_new is False
    assert list(lives.folder.glob("epoch-*")) == []


def test_the_model_of_a_cold_start_goes_on_after_a_kill_before_its_first_commit(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    lives.start(how=FRESH)

    life = lives.start()

    assert digest(life.state()) == untrained(lives)
    assert (life.recovered.origin, life.recovered.num_batches) == (3, 0)


@pytest.mark.parametrize("with_store", [True, False])
def test_the_model_of_a_cold_start_goes_on_after_a_kill_past_its_first_commit(lives: Lives, with_store: bool) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    lives.start(how=FRESH, with_store=with_store)
    before = batches(lives, 2)

    life = lives.start(with_store=with_store)

    assert (life.recovered.origin, life.recovered.num_batches) == (3, 2)
    assert same(life.state(), before)
    assert {entry.origin for entry in lives.journal()[3:]} == {3}


def test_a_checkpoint_of_before_a_cold_start_is_never_used_again(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    lives.start(how=FRESH)
    before = batches(lives, 2)
    damage(lives.folder, "epoch-000000000003")  # the one of the cold start

    life = lives.start()

    assert (life.recovered.checkpoint, life.recovered.num_batches) == (None, 2)
    assert same(life.state(), before)
    assert "holds none of that epoch that can be used" in refusal(lives, how=Beginning("checkpoint", 2))


def test_a_checkpoint_of_the_very_epoch_of_a_cold_start_is_not_taken_for_its_beginning(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    lives.start(how=FRESH, with_store=False)  # so the checkpoint of epoch 3 stays the one of the model before
    before = batches(lives, 2)

    life = lives.start()

    assert (life.recovered.checkpoint, life.recovered.origin) == (None, 3)
    assert same(life.state(), before)


def test_a_cold_start_that_was_never_written_down_and_never_committed_did_not_happen(lives: Lives) -> None:
    before = batches(lives, 3)

    lives.start(how=FRESH, with_store=False)

    assert same(lives.start(with_store=False).state(), before)


def test_two_cold_starts_leave_only_the_second_model(lives: Lives) -> None:
    batches(lives, 2)
    lives.start(how=FRESH)
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.start(how=FRESH)
    before = batches(lives, 1)
    damage(lives.folder, "epoch-000000000004")

    life = lives.start()

    assert (life.recovered.origin, life.recovered.checkpoint) == (4, None)
    assert same(life.state(), before)


# A rebuild.


def test_a_rebuild_learns_all_batches_again_with_the_settings_of_now(lives: Lives) -> None:
    batches(lives, 4)
    other = fast_settings(evidence={"click": 0.9})

    life = lives.start(other, REBUILT)

    expected = lives_of_its_own(lives, other, range(4))
    assert (life.recovered.num_batches, life.recovered.num_lost, life.recovered.origin) == (4, 0, 0)
    assert same(life.state(), expected)
    assert life.pipeline.checkpoint == "epoch-000000000004"


def lives_of_its_own(lives: Lives, settings: Settings, which: range) -> State:
    """Return the state after these batches of the journal, learned by hand, without recovery."""
    state = WorkerState(settings, range(lives.num_partitions))
    for entry in [lives.journal()[number] for number in which]:
        records = [
            record
            for name, span in sorted(entry.partitions.items())
            for record in lives.log.partitions[int(name)]
            if span.first <= record.offset < span.next
        ]
        state.learn(*state.read(records, entry.decisions))
    return state.state()


@pytest.mark.parametrize("with_commit", [True, False])
@pytest.mark.parametrize("section", [{}, {"evidence": {"click": 0.9}}, {"events": {"dedup_window": 0}}], ids=str)
def test_the_model_of_a_rebuild_goes_on_after_a_kill(
    lives: Lives, section: dict[str, dict[str, object]], with_commit: bool
) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    batches(lives, 2)
    other = fast_settings(**section)
    before = lives.start(other, REBUILT).state()
    if with_commit:
        before = batches(lives, 2)

    life = lives.start(other)

    assert life.recovered.checkpoint == "epoch-000000000005"
    assert same(life.state(), before)


@pytest.mark.parametrize("section", [{}, {"evidence": {"click": 0.9}}, {"events": {"dedup_window": 0}}], ids=str)
def test_a_rebuilt_model_can_be_learned_again_without_its_checkpoint(
    lives: Lives, section: dict[str, dict[str, object]]
) -> None:
    """The journal's hashes before the rebuild are of another model, so they say nothing of this one."""
    batches(lives, 5)
    other = fast_settings(**section)
    lives.start(other, REBUILT, with_store=False)
    before = batches(lives, 2)

    life = lives.start(other, with_store=False)

    assert (life.recovered.num_batches, life.recovered.origin) == (7, 0)
    assert same(life.state(), before)


def test_a_rebuild_after_a_cold_start_can_be_learned_again_without_its_checkpoint(lives: Lives) -> None:
    batches(lives, 2)
    lives.start(how=FRESH)
    batches(lives, 2)
    lives.start(how=REBUILT)
    before = batches(lives, 1)
    shutil.rmtree(lives.folder)

    life = lives.start()

    assert (life.recovered.num_batches, life.recovered.origin) == (5, 0)
    assert same(life.state(), before)


def test_a_rebuild_begins_after_the_last_batch_whose_records_are_gone(lives: Lives) -> None:
    """Retention goes by partition: here batches are gone, whole, gone, and whole from then on."""
    life = lives.start()
    for partition in (0, 1, 0, 1, 0):
        lives.produce(4, partition)
        assert len(life.run()) == 1
    lives.log.truncate(0, 7)

    life = lives.start(how=REBUILT)

    assert (life.recovered.num_lost, life.recovered.origin, life.recovered.num_batches) == (3, 3, 2)
    assert same(life.state(), lives_of_its_own(lives, lives.settings, range(3, 5)))
    before = batches(lives, 1)
    assert same(lives.start().state(), before)


def test_a_rebuild_whose_batches_are_gone_in_the_middle_begins_after_the_gap(lives: Lives) -> None:
    lives.num_partitions = 1
    lives.__post_init__()
    batches(lives, 5)
    # What compaction leaves of the third batch.
    records = lives.log.partitions[0]
    records[8] = records[8]._replace(value=b"{}")

    life = lives.start(how=REBUILT)

    assert (life.recovered.num_lost, life.recovered.origin, life.recovered.num_batches) == (3, 3, 2)
    assert same(life.state(), lives_of_its_own(lives, lives.settings, range(3, 5)))


def test_a_rebuild_takes_what_is_left_of_the_journal(lives: Lives) -> None:
    batches(lives, 5)
    lives.rewrite_journal(lives.journal()[2:])

    life = lives.start(how=REBUILT)

    assert (life.recovered.num_lost, life.recovered.origin, life.recovered.num_batches) == (2, 2, 3)
    before = batches(lives, 1)
    assert same(lives.start().state(), before)


def test_a_rebuild_without_any_whole_batch_is_refused_with_the_way_out(lives: Lives) -> None:
    batches(lives, 3)
    for partition, records in enumerate(lives.log.partitions):
        lives.log.truncate(partition, len(records))

    assert "nothing to re-learn: start with --cold" in refusal(lives, how=REBUILT)


def test_a_rebuild_before_the_first_batch_is_an_ordinary_start(lives: Lives) -> None:
    assert lives.start(how=REBUILT).recovered.is_new is False
