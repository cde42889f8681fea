"""What a worker starts from after the one before it ended on any line, and what it refuses to start from."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from online_models import LearnerConfig, State, TransitionsConfig, digest
from stream.config.settings import Settings
from stream.durability.checkpoints import name_of
from stream.durability.recovery import Beginning
from stream.durability.relearn import relearn
from stream.errors import RefusedToStart, TransactionInDoubt
from stream.learning import decisive
from stream.learning.decisive import learner_config
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory
from stream.wire.decisions import Decisions
from stream.wire.fingerprint import chained
from stream.wire.records import Record
from tests.support.lives import Lives, damage, fast_settings

NUM_STORIES = 8
FRESH = Beginning("cold")
REBUILT = Beginning("beginning")


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "checkpoints")
    yield lives
    lives.kill()


def batches(lives: Lives, num_batches: int, settings: Settings | None = None) -> State:
    """Have the running worker, or a first one, commit so many batches of 4; return the state after them."""
    life = lives.lives[-1] if lives.lives else lives.start(settings)
    lives.produce(4 * num_batches)
    assert len(life.run(num_batches)) == num_batches
    return life.state()


def refusal(lives: Lives, settings: Settings | None = None, how: Beginning | None = None, **options: Any) -> str:
    published = {topic: list(records) for topic, records in lives.log.topics.items()}
    with pytest.raises(RefusedToStart) as refused:
        lives.start(settings, how, **options)
    assert lives.log.topics == published
    assert refused.value.exit_code == 4
    return str(refused.value)


def untrained(lives: Lives) -> str:
    return digest(WorkerState(lives.settings, range(lives.num_partitions)).state())


def same(one: State, other: State) -> bool:
    return digest(one) == digest(other)


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


# Other settings.


OTHER = fast_settings(evidence={"click": 0.9})
ACCEPT = Beginning(accept_model_change=True)


def test_a_change_after_a_clean_stop_is_refused_by_name_until_it_is_accepted(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()

    message = refusal(lives, OTHER)

    assert "changed since checkpoint epoch-000000000003: evidence.click was 0.5 and is 0.9" in message
    assert "Start with the old settings, or go on from epoch 3" in message
    assert "--accept-model-change" in message
    assert "--from-beginning" in message


def test_settings_may_change_where_nothing_has_to_be_learned_again(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()

    life = lives.start(OTHER, ACCEPT)
    assert (life.recovered.origin, life.recovered.settings_since) == (0, 3)
    before = batches(lives, 2)

    again = lives.start(OTHER)
    assert (again.recovered.origin, again.recovered.settings_since, again.recovered.num_batches) == (0, 3, 2)
    assert same(again.state(), before)
    assert [entry.settings_since for entry in lives.journal()] == [0, 0, 0, 3, 3]


def test_settings_that_change_what_was_learned_after_the_checkpoint_are_refused_by_name(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)

    for how in (Beginning(), ACCEPT):
        message = refusal(lives, OTHER, how)

    assert "(evidence.click was 0.5 and is 0.9)" in message
    assert "1 batches after checkpoint epoch-000000000002" in message
    assert "Start with the old settings once and stop with SIGTERM" in message
    assert "--cold" in message
    assert "--from-beginning" in message


def test_settings_that_were_changed_and_changed_back_are_refused_while_batches_of_between_have_to_be_learned_again(
    lives: Lives,
) -> None:
    """The checkpoint has the settings of now, and the batches after it were learned with others."""
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.start(OTHER, ACCEPT)
    batches(lives, 2)

    message = refusal(lives, lives.settings)

    assert "2 batches after checkpoint epoch-000000000002 were learned by the old ones" in message


def test_settings_that_were_changed_and_changed_back_with_nothing_in_between_are_the_old_ones(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    before = batches(lives, 1)
    lives.lives[-1].checkpoint()
    lives.start(OTHER, ACCEPT)

    life = lives.start()

    assert life.recovered.settings_since == 0
    assert same(life.state(), before)


def test_a_checkpoint_of_the_same_settings_at_another_time_is_not_used_when_others_lay_between(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.start(OTHER, ACCEPT)
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    lives.start(lives.settings, ACCEPT)
    batches(lives, 2)
    damage(lives.folder, "epoch-000000000004")

    message = refusal(lives, lives.settings)

    assert "no usable checkpoint" in message
    assert str(lives.folder) in message
    assert "epoch 6" in message
    assert "--from-beginning" in message


def test_without_a_checkpoint_no_other_settings_are_taken(lives: Lives) -> None:
    batches(lives, 2)

    message = refusal(lives, OTHER, with_store=False)

    assert "no usable checkpoint" in message
    assert "checkpoints.url is empty" in message


def test_new_windows_of_the_live_quality_do_not_stand_in_the_way(lives: Lives) -> None:
    batches(lives, 3)
    lives.lives[-1].checkpoint()
    learner = digest(lives.lives[-1].pipeline.state.learner.state())

    for section in ({"quality": {"window_events": 99}}, {"model": {"k": 2}}):
        life = lives.start(fast_settings(**section), ACCEPT)

        assert digest(life.pipeline.state.learner.state()) == learner
        assert life.pipeline.state.quality.num_evaluated == 0


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ({"model": {"history_length": 7}}, "model.history_length"),
        ({"model": {"scorer": "popularity"}}, "model.scorer"),
        ({"model": {"item_capacity": 101}}, "model.item_capacity"),
        ({"model": {"user_capacity": 1002}}, "model.user_capacity"),
        ({"model": {"seed": 2}}, "model.seed"),
        ({"events": {"dedup_window": 9}}, "events.dedup_window"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_structure_is_refused_by_the_name_of_the_setting(
    lives: Lives, section: dict[str, dict[str, object]], name: str
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()

    message = refusal(lives, fast_settings(**section), ACCEPT)

    assert "does not fit these settings" in message
    assert f"changed since: {name}" in message
    assert "--from-beginning" in message


def test_settings_that_decide_nothing_of_what_is_learned_may_change_at_any_time(lives: Lives) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    before = batches(lives, 2)

    life = lives.start(fast_settings(batching={"max_events": 7}, model={"cpu_threads": 2}, log={"level": "DEBUG"}))

    assert life.recovered.settings_since == 0
    assert same(life.state(), before)


# Other software.


def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a version of Millstream in which a default is another, of the same shape."""

    def with_another_default(settings: Settings) -> LearnerConfig:
        return replace(learner_config(settings), transitions=TransitionsConfig(position_decay=0.7))

    monkeypatch.setattr(decisive, "learner_config", with_another_default)
    monkeypatch.setattr("stream.learning.worker_state.learner_config", with_another_default)


def test_a_changed_default_is_refused_by_name_after_a_clean_stop_until_it_is_accepted(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    upgraded(monkeypatch)

    message = refusal(lives)

    assert "model.hyperparameters.transitions.position_decay was 0.8 and is 0.7" in message
    assert f"Start the version of Millstream that made it ({version('millstream')})" in message
    assert "--accept-model-change" in message

    lives.start(how=ACCEPT)
    before = batches(lives, 2)
    again = lives.start()  # the journal tells since when, so that nobody has to say it twice
    assert (again.recovered.settings_since, again.recovered.num_batches) == (2, 2)
    assert same(again.state(), before)
    assert [entry.settings_since for entry in lives.journal()] == [0, 0, 2, 2]


def test_an_upgrade_after_a_crash_is_refused_until_the_version_of_before_has_stopped_cleanly(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    with monkeypatch.context() as new_version:
        upgraded(new_version)
        for how in (Beginning(), ACCEPT, Beginning(accept_difference=True)):
            message = refusal(lives, how=how)

    assert "transitions.position_decay was 0.8 and is 0.7" in message
    assert f"Start the version of Millstream that made it ({version('millstream')}) once" in message
    assert "stop with SIGTERM" in message
    assert "defect" not in message

    lives.start().checkpoint()
    upgraded(monkeypatch)
    assert lives.start(how=ACCEPT).recovered.settings_since == 3


@pytest.mark.parametrize(
    ("home", "name", "told"),
    [("MODEL_VERSION", "model.version", "of the model"), ("DECODE_VERSION", "events.decode_version", "of decoding")],
)
def test_another_version_is_refused_by_name_with_and_without_a_checkpoint(
    lives: Lives, monkeypatch: pytest.MonkeyPatch, home: str, name: str, told: str
) -> None:
    batches(lives, 2)
    lives.lives[-1].checkpoint()
    batches(lives, 1)
    then = getattr(decisive, home)
    for place in (
        "stream.learning.decisive",
        "stream.pipeline",
        "stream.durability.recovery",
        "stream.durability.relearn",
    ):
        monkeypatch.setattr(f"{place}.{home}", then + 1, raising=False)

    assert f"({name} was {then} and is {then + 1})" in refusal(lives)
    told_by_the_journal = refusal(lives, with_store=False)
    assert f"it was learned with version {then} {told}, here it is {then + 1}" in told_by_the_journal


def test_a_new_model_learns_batches_of_another_version_again_by_the_rules_of_now(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 3)
    monkeypatch.setattr("stream.learning.decisive.DECODE_VERSION", 2)
    monkeypatch.setattr("stream.durability.relearn.DECODE_VERSION", 2)

    assert lives.start(how=Beginning("beginning")).recovered.num_batches == 3


def test_a_batch_of_another_version_of_decoding_is_told_apart_when_it_is_learned_again(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 1)
    [entry] = lives.journal()
    monkeypatch.setattr("stream.durability.relearn.DECODE_VERSION", 2)

    found, lists = relearn(lives.lives[-1].recovery.fresh(), entry, MemoryHistory(lives.log).records(entry), None)

    assert str(found) == "epoch 1: the version of how a record becomes an event: expected 1, found 2"
    assert lists == []


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


# Any order of events, against a model of what the state should be.

CHOICES = {
    "A": fast_settings(),
    "B": fast_settings(evidence={"click": 0.9}),
    "C": fast_settings(quality={"window_events": 50}),
}
Segments = tuple[tuple[int, str], ...]
"""From which epoch on a model learned with which settings; the first is its origin."""


@dataclass
class Known:
    """A model: how it came to be, and what it is."""

    segments: Segments
    state: State

    def leads_to(self, newest: "Known", epoch: int) -> bool:
        """Return whether learning on from here, at `epoch`, with the settings of `newest` alone ends at `newest`."""
        since = newest.segments[-1][0]
        return (self.segments == newest.segments and epoch >= since) or (
            self.segments == newest.segments[:-1] and epoch == since
        )


class Model:
    """What the state should be, worked out beside the workers by one that is never interrupted.

    It keeps what was committed, and copies of whole states where a checkpoint is written. It learns nothing again, but
    for a rebuild.
    """

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.batches: list[tuple[list[Record], int]] = []
        self.num_gone = 0
        self.kept: dict[int, Known] = {}
        self.damaged: set[int] = set()
        self.segments: Segments = ((0, "A"),)
        self.running = self.fresh("A")
        self.newest = Known(self.segments, self.running.state())

    def fresh(self, choice: str) -> WorkerState:
        return WorkerState(CHOICES[choice], range(self.lives.num_partitions))

    def start(self, choice: str, how: Beginning, with_store: bool) -> bool:
        """Return whether a start is to be had; then `running` is the state that it leads to."""
        epoch = len(self.batches)
        if how.kind == "checkpoint" and not with_store:
            return False
        if how.kind in ("cold", "beginning") or not epoch:
            return self._begin_anew(choice, how)
        bases = {at: kept for at, kept in self.kept.items() if with_store and at not in self.damaged}
        if how.kind == "checkpoint":
            bases = {at: kept for at, kept in bases.items() if at == how.epoch}
        origin, last = self.newest.segments[0][0], self.newest.segments[-1]
        whole = [at for at, kept in bases.items() if kept.leads_to(self.newest, at) and at >= self.num_gone]
        if epoch in bases:
            if choice != bases[epoch].segments[-1][1] and not how.accept_model_change:
                return False
            self._go_on(bases[epoch], choice)
        elif choice == last[1] and (whole or (how.kind == "newest" and last[0] == origin >= self.num_gone)):
            self._go_on(self.newest, choice)
        else:
            return False
        return True

    def _begin_anew(self, choice: str, how: Beginning) -> bool:
        epoch = len(self.batches)
        if how.kind == "checkpoint" or (how.kind == "beginning" and epoch and self.num_gone == epoch):
            return False
        origin = self.num_gone if how.kind == "beginning" else epoch
        self.segments, self.running = ((origin, choice),), self.fresh(choice)
        for records, at_ms in self.batches[origin:]:
            self.running.learn(*self.running.read(records, Decisions(decoded_at_ms=at_ms)))
        return True

    def _go_on(self, known: Known, choice: str) -> None:
        then = known.segments[-1][1]
        self.segments = known.segments if choice == then else (*known.segments, (len(self.batches), choice))
        self.running = self.fresh(choice)
        has_same_windows = CHOICES[choice].quality == CHOICES[then].quality
        self.running.load(known.state, with_quality=has_same_windows)

    def catch_up(self) -> None:
        """Learn what was committed since."""
        log = self.lives.log
        for entry in self.lives.journal()[len(self.batches) :]:
            spans = sorted((int(name), span) for name, span in entry.partitions.items())
            slices = [slice(span.first - log.begins[at], span.next - log.begins[at]) for at, span in spans]
            records = [
                record for (at, _), part in zip(spans, slices, strict=True) for record in log.partitions[at][part]
            ]
            self.running.learn(*self.running.read(records, entry.decisions))
            self.batches.append((records, entry.decoded_at_ms))
            self.newest = Known(self.segments, self.running.state())

    def keep(self) -> None:
        """Note that a checkpoint of the state of now is written."""
        epoch = len(self.batches)
        self.kept[epoch] = Known(self.segments, self.running.state())
        self.damaged.discard(epoch)


class Story:
    """One order of events, drawn at random, with the worker and the model side by side."""

    def __init__(self, lives: Lives, seed: int) -> None:
        self.lives, self.random, self.model = lives, random.Random(seed), Model(lives)
        self.told = [f"seed {seed}"]
        self.num_starts = self.num_refusals = 0

    def go_on(self) -> None:
        if not self.lives.lives:
            return self.restart()
        events = [self.learn] * 6 + [self.restart] * 6 + [self.write] * 3 + [self.fail] * 2
        return self.random.choice([*events, self.damage, self.delete, self.retain])()

    def learn(self) -> None:
        self.told.append("learn")
        self.lives.produce(self.random.randrange(1, 8))
        self.lives.lives[-1].run(self.random.randrange(1, 3))
        self.agree()

    def fail(self) -> None:
        """Lose a commit, or only the answer to it."""
        instant = self.random.choice(["records_flushed", "transaction_committed"])
        self.told.append(f"fail at {instant}")
        self.lives.produce(3)

        def dead(at: str) -> None:
            if at == instant:
                raise OSError("the line is dead")

        self.lives.lives[-1].pipeline._transport._watch = dead  # type: ignore[attr-defined]
        with pytest.raises(TransactionInDoubt):
            self.lives.lives[-1].run()
        self.model.catch_up()
        self.lives.kill()

    def write(self) -> None:
        self.told.append("write")
        if self.lives.lives[-1].store and self.model.batches:
            self.lives.lives[-1].checkpoint()
            self.model.keep()

    def damage(self) -> None:
        whole = sorted(set(self.model.kept) - self.model.damaged)
        if whole:
            epoch = self.random.choice([whole[-1], self.random.choice(whole)])
            self.told.append(f"damage {epoch}")
            damage(self.lives.folder, name_of(epoch))
            self.model.damaged.add(epoch)

    def delete(self) -> None:
        if self.model.kept:
            epoch = self.random.choice(sorted(self.model.kept))
            self.told.append(f"delete {epoch}")
            shutil.rmtree(self.lives.folder / name_of(epoch))
            del self.model.kept[epoch]
            self.model.damaged.discard(epoch)

    def retain(self) -> None:
        """Drop the records of the oldest batches."""
        num_more = self.random.randrange(3)
        self.told.append(f"retain {num_more}")
        self.model.num_gone = min(self.model.num_gone + num_more, len(self.model.batches))
        for entry in self.lives.journal()[: self.model.num_gone]:
            for name, span in entry.partitions.items():
                log, partition = self.lives.log, int(name)
                log.truncate(partition, max(0, span.next - log.begins[partition]))

    def restart(self) -> None:
        choice = self.random.choice(["A", "B", "C", *[self.model.newest.segments[-1][1]] * 5])
        kind = self.random.choice(["newest"] * 6 + ["cold", "beginning", "checkpoint", "checkpoint"])
        epoch = self.random.choice([*self.model.kept, 1]) if kind == "checkpoint" else 0
        how = Beginning(kind, epoch, accept_model_change=self.random.random() < 0.7)
        with_store = self.random.random() < 0.85
        self.told.append(f"start {choice} {how} {'' if with_store else 'without a store'}")
        if self.model.start(choice, how, with_store):
            self.lives.start(CHOICES[choice], how, with_store=with_store)
            if with_store and self.lives.lives[-1].recovered.is_new:
                self.model.keep()
            self.agree()
            self.num_starts += 1
        else:
            with pytest.raises(RefusedToStart):
                self.lives.start(CHOICES[choice], how, with_store=with_store)
            self.num_refusals += 1

    def agree(self) -> None:
        self.model.catch_up()
        life = self.lives.lives[-1]
        assert digest(life.state()) == digest(self.model.running.state())
        recovered, segments = life.recovered, self.model.segments
        if self.model.batches:
            assert (recovered.origin, recovered.settings_since) == (segments[0][0], segments[-1][0])


@pytest.mark.parametrize("chapter", range(4))
def test_whatever_happens_in_whatever_order_the_state_is_the_one_that_follows_from_the_log_or_the_start_is_refused(
    tmp_path: Path, chapter: int
) -> None:
    num_starts = num_refusals = 0
    for seed in range(NUM_STORIES * chapter, NUM_STORIES * (chapter + 1)):
        story = Story(Lives(tmp_path / str(seed)), seed)
        try:
            for _ in range(40):
                story.go_on()
        except BaseException as error:
            error.add_note("; ".join(story.told))
            raise
        finally:
            story.lives.kill()
        num_starts += story.num_starts
        num_refusals += story.num_refusals

    assert num_starts > 2 * NUM_STORIES
    assert num_refusals > NUM_STORIES / 2
