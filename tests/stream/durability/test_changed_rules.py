"""Settings and software that decide what is learned, and are not those of before."""

from dataclasses import replace
from importlib.metadata import version

import pytest

from online_models import LearnerConfig, TransitionsConfig, digest
from stream.config.settings import Settings
from stream.durability.relearn import relearn
from stream.durability.start_point import Beginning
from stream.learning import decisive
from stream.learning.decisive import learner_config
from stream.log.memory import MemoryHistory
from tests.support.lives import Lives, batches, damage, fast_settings, refusal, same

FRESH = Beginning("cold")
REBUILT = Beginning("beginning")


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
        "stream.durability.refusals",
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
    monkeypatch.setattr("stream.learning.decisive.DECODE_VERSION", 3)
    monkeypatch.setattr("stream.durability.relearn.DECODE_VERSION", 3)

    assert lives.start(how=Beginning("beginning")).recovered.num_batches == 3


def test_a_batch_of_another_version_of_decoding_is_told_apart_when_it_is_learned_again(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches(lives, 1)
    [entry] = lives.journal()
    monkeypatch.setattr("stream.durability.relearn.DECODE_VERSION", 3)

    found, lists = relearn(lives.lives[-1].recovery.fresh(), entry, MemoryHistory(lives.log).records(entry), None)

    assert str(found) == "epoch 1: the version of how a record becomes an event: expected 2, found 3"
    assert lists == []
