"""Effort by the lag: down at once, up late, and always as it is in the journal."""

from pathlib import Path

import msgspec
import pytest

from online_models import Effort, digest
from stream.learning.decisive import config_hash
from stream.learning.effort_ladder import FALL_BATCHES, RISE_BATCHES, EffortLadder
from stream.wire.fingerprint import GENESIS, chained
from stream.wire.schema import JournalEntry
from tests.support.events import small_settings
from tests.support.lives import Lives, fast_settings

FULL = 8
CALM, BETWEEN, BEHIND = 0, 2 * FULL, FALL_BATCHES * FULL


def ladder(effort: str = "auto") -> EffortLadder:
    return EffortLadder(small_settings(model={"effort": effort}))


@pytest.mark.parametrize("effort", ["low", "normal", "high"])
def test_an_effort_that_is_set_does_not_care_about_the_lag(effort: str) -> None:
    assert [ladder(effort).decide(lag) for lag in (CALM, BEHIND, CALM)] == [effort] * 3


def test_auto_begins_normal_and_falls_a_rung_with_each_batch_that_many_wait_behind() -> None:
    one = ladder()

    assert [one.decide(lag) for lag in (BEHIND - 1, BEHIND, BEHIND)] == ["normal", "low", "low"]


def test_auto_rises_a_rung_after_a_run_of_calm_batches_and_no_further_than_the_last() -> None:
    one = ladder()

    found = [one.decide(lag) for lag in [BEHIND, *[CALM] * (3 * RISE_BATCHES)]]

    assert found == ["low"] * RISE_BATCHES + ["normal"] * RISE_BATCHES + ["high"] * (RISE_BATCHES + 1)


def test_a_lag_between_the_limits_leaves_the_effort_where_it_is() -> None:
    one = ladder()
    one.decide(BEHIND)

    assert {one.decide(lag) for lag in [BETWEEN] * 50} == {"low"}


def test_a_lag_that_comes_back_begins_the_count_of_calm_batches_anew() -> None:
    one = ladder()
    lags = [BEHIND, *[CALM] * (RISE_BATCHES - 1), BETWEEN, *[CALM] * (RISE_BATCHES - 1)]

    assert {one.decide(lag) for lag in lags} == {"low"}
    assert one.decide(CALM) == "normal"


def lives(folder: Path, **model: object) -> Lives:
    scorer = {"scorer": "sequence", "history_length": 5, "sub_step_events": 4}
    return Lives(folder, fast_settings(model={**scorer, "effort": "auto", **model}))


def test_auto_falls_under_a_burst_and_rises_when_it_is_over_and_no_event_is_left_out(tmp_path: Path) -> None:
    stream = lives(tmp_path, scorer="transitions")
    stream.produce(100)  # 25 batches of 4
    life = stream.start(with_store=False)
    life.run()
    for _ in range(2 * RISE_BATCHES):
        stream.produce(4)
        life.run()

    efforts = [entry.effort for entry in stream.journal()]

    assert efforts[0] == "low"
    assert efforts[:15] == ["low"] * 15
    assert efforts[-1] == "high"
    assert "normal" in efforts
    rungs = [list(Effort).index(Effort(effort)) for effort in efforts]
    assert rungs == sorted(rungs)
    totals = life.pipeline.state.totals
    assert totals["events"] + totals["dead_letters"] == 100 + 2 * RISE_BATCHES * 4


@pytest.mark.slow
def test_recovery_spends_on_each_batch_what_was_spent_then_so_the_state_is_the_same_bit_for_bit(
    tmp_path: Path,
) -> None:
    stream = lives(tmp_path)
    stream.produce(60)
    never = stream.start(with_store=False)
    never.run(4)
    before = [entry.effort for entry in stream.journal()]
    never.run()
    for _ in range(2 * RISE_BATCHES):
        stream.produce(4)
        never.run()
    expected, efforts = digest(never.state()), [entry.effort for entry in stream.journal()]
    assert before[0] == "low"
    assert set(efforts) == {"low", "normal", "high"}

    for effort in ("auto", "low"):  # whatever is set now
        settings = stream.settings.model_copy(
            update={"model": stream.settings.model.model_copy(update={"effort": effort})}
        )
        again = stream.start(settings, with_store=False)
        assert again.recovered.num_batches == len(efforts)
        assert digest(again.state()) == expected


def test_an_entry_of_before_there_was_a_choice_means_normal_and_keeps_its_chain() -> None:
    fields = {"effort": "low"}
    entry = msgspec.convert(
        {
            **dict.fromkeys(("app", "topic", "config_hash", "records_hash", "applied_hash", "lists_hash", "chain"), ""),
            **dict.fromkeys(("epoch", "decoded_at_ms", "generated_at_ms", "origin", "settings_since"), 1),
            "partitions": {},
            "positions": {},
            "counts": {},
        },
        JournalEntry,
    )

    assert entry.effort == "normal"
    assert chained(GENESIS, msgspec.structs.replace(entry, **fields)) != chained(GENESIS, entry)


def test_the_effort_is_no_setting_that_decides_what_the_same_journal_leads_to() -> None:
    hashes = {config_hash(small_settings(model={"effort": effort})) for effort in ("low", "normal", "high", "auto")}

    assert len(hashes) == 1
