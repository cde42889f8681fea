"""What commit b6d9232 wrote is read, recovered and continued: an upgrade loses nothing and decides nothing in silence.

That commit's journal and checkpoints tell neither versions nor hyperparameters. tests/data/written_by_b6d9232/README.md
says what is in each part.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from online_models import State, TransitionsConfig, digest, flatten
from stream.config.settings import Settings
from stream.durability.point_in_time import Past, settings_of
from stream.durability.start_point import Beginning
from stream.durability.verification import Verification
from stream.errors import ConfigError, RefusedToStart
from stream.learning import decisive
from stream.learning.decisive import changed_settings, learner_config
from stream.learning.user_view import view_user
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryPublished
from stream.wire.dead_letters import read_letter
from stream.wire.fingerprint import GENESIS, chained, lists_hash
from stream.wire.records import Record
from stream.wire.schema import FIRST_MODEL_VERSION, JournalEntry, Recommendation
from tests.support.lives import Life, Lives, damage
from tests.support.written_before import WrittenBefore, written_before

PARTS = ("popularity", "sequence")
LAST_EPOCH = {"popularity": 9, "sequence": 4}
NUM_UNREAD = 16
CODES = {
    b"not json": "not_json",
    None: "null_value",
    b'{"user":"17850","type":"click"}': "missing_field",
    b'{"user":"17850","item":"22910","type":"stare"}': "unknown_type",
    b'{"user":"","item":"22910","type":"click"}': "bad_id",
    b'{"user":"17850","item":"22910","type":"click","ts":1900000000000}': "future_time",
    b'{"user":"17850","item":"22910","type":"click"}': "bad_cloud_event",
}
"""Values of the unreadable records, and why each is one; the last has no whole envelope of a CloudEvent."""


@pytest.fixture(autouse=True)
def rules_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a version that decodes as that commit did, and knows repetitions by their ids alone.

    What else is another rule since makes no difference to these records; tests/stream/durability/test_upgraded_rules.py
    has what happens with the rules of now.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("stream.") and hasattr(module, "DECODE_VERSION"):
            monkeypatch.setattr(module, "DECODE_VERSION", 1)
    monkeypatch.setattr("stream.ingest.deduplication.event_print", lambda event: 0)


@pytest.fixture
def killed(tmp_path: Path) -> WrittenBefore:
    """The part whose worker was killed three batches after its checkpoint."""
    return written_before("popularity", tmp_path / "checkpoints")


@pytest.fixture
def stopped(tmp_path: Path) -> WrittenBefore:
    """The part whose worker, with the default model, was stopped cleanly."""
    return written_before("sequence", tmp_path / "checkpoints")


@pytest.fixture
def model_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model be called what it was called then: what differs are the last bits of its numbers."""
    for name, module in list(sys.modules.items()):
        if name.startswith("stream.") and hasattr(module, "MODEL_VERSION"):
            monkeypatch.setattr(module, "MODEL_VERSION", FIRST_MODEL_VERSION)


@pytest.fixture
def lives() -> Iterator[list[Lives]]:
    begun: list[Lives] = []
    yield begun
    for each in begun:
        each.kill()


def workers(written: WrittenBefore, lives: list[Lives]) -> Lives:
    """Return workers of now on the log and the checkpoints of then."""
    lives.append(Lives(written.folder, written.settings))
    lives[-1].log = written.log
    return lives[-1]


def untrained(written: WrittenBefore) -> WorkerState:
    return WorkerState(written.settings, range(len(written.log.partitions)))


def past(written: WrittenBefore) -> Past:
    return Past(written.settings, written.history, written.store, lambda: untrained(written))


def verification(written: WrittenBefore, *, with_store: bool) -> Verification:
    store = written.store if with_store else None
    return Verification(
        written.settings, written.history, MemoryPublished(written.log), store, lambda: untrained(written)
    )


def assert_linked(entries: list[JournalEntry]) -> None:
    """The chain is whole from the first entry on."""
    chain = GENESIS
    for epoch, entry in enumerate(entries, start=1):
        assert entry.epoch == epoch
        chain = chained(chain, entry)
        assert entry.chain == chain, f"epoch {epoch}"


def assert_goes_on(written: WrittenBefore, life: Life, num_before: int) -> None:
    """The worker carries what nobody has read, and the journal goes on as if nothing had happened."""
    before = written.journal()[-1]

    reports = life.run()

    assert [report.epoch for report in reports] == [num_before + 1, num_before + 2]
    assert sum(len(report.records) for report in reports) == NUM_UNREAD
    assert written.log.committed == {number: len(part) for number, part in enumerate(written.log.partitions)}
    entries = written.journal()
    assert_linked(entries)
    assert [entry.epoch for entry in entries[num_before:]] == [num_before + 1, num_before + 2]
    for entry in entries[num_before:]:
        assert (entry.origin, entry.settings_since, entry.config_hash) == (0, 0, before.config_hash)
    newest = msgspec.json.decode(written.log.published("recommendations")[-1].value or b"", type=Recommendation)
    assert newest.epoch == num_before + 2


# What is read.


@pytest.mark.parametrize("part", PARTS)
def test_the_journal_written_then_is_read_and_its_chain_is_whole(part: str, tmp_path: Path) -> None:
    entries = written_before(part, tmp_path).journal()

    assert_linked(entries)
    assert len(entries) == LAST_EPOCH[part]
    assert {(entry.model_version, entry.decode_version) for entry in entries} == {(6, 1)}
    assert {(entry.origin, entry.settings_since) for entry in entries} == {(0, 0)}


def test_decisions_of_the_worker_of_then_are_read(killed: WrittenBefore) -> None:
    entries = killed.journal()

    assert [entry.effort for entry in entries] == ["normal"] * 4 + ["low"] * 3 + ["normal"] * 2
    excluded = {entry.epoch: [[*places] for places in entry.excluded.values()] for entry in entries if entry.excluded}
    assert excluded == {4: [[8]], 8: [[35]]}
    told = [None] * 3 + ["epoch-000000000003"] * 3 + ["epoch-000000000006"] * 3
    assert [entry.checkpoint for entry in entries] == told


@pytest.mark.parametrize("part", PARTS)
def test_lists_written_then_are_those_of_the_journal_and_decode(part: str, tmp_path: Path) -> None:
    written = written_before(part, tmp_path)
    records = written.log.published("recommendations")
    lists = [msgspec.json.decode(record.value or b"", type=Recommendation) for record in records]

    for entry in written.journal():
        of_epoch = [record for record, one in zip(records, lists, strict=True) if one.epoch == entry.epoch]
        assert len(of_epoch) == entry.counts["lists"] > 0
        assert lists_hash(of_epoch) == entry.lists_hash
    assert {one.model for one in lists} == {f"{part}-6"}
    assert [one.user.encode() for one in lists] == [record.key for record in records]


def test_dead_letters_written_then_are_read_with_the_event_as_it_was(killed: WrittenBefore) -> None:
    letters = [
        read_letter(Record(out.topic, 0, offset, out.key, out.value, out.headers, out.timestamp_ms or 0))
        for offset, out in enumerate(killed.log.published("events.dlq"))
    ]

    assert [letter for letter in letters if letter is None] == []
    found = [letter for letter in letters if letter is not None]
    for letter in found:
        assert letter.event == killed.log.partitions[letter.event.partition][letter.event.offset]
        assert (letter.app, letter.version) == ("millstream-0", "0.1.0")
    unreadable = {letter.event.value: letter.code for letter in found if letter.code != "not_finite"}
    assert unreadable == CODES
    left_out = [(letter.event.partition, letter.event.offset) for letter in found if letter.code == "not_finite"]
    assert left_out == [(0, 8), (0, 35)]


# What is continued.


@pytest.mark.usefixtures("model_of_then")
def test_a_worker_of_now_goes_on_where_the_one_of_then_was_killed(killed: WrittenBefore, lives: list[Lives]) -> None:
    entries = killed.journal()

    life = workers(killed, lives).start()

    recovered = life.recovered
    assert (recovered.checkpoint, recovered.num_batches) == ("epoch-000000000006", 3)
    assert (recovered.epoch, recovered.chain) == (9, entries[-1].chain)
    assert (recovered.origin, recovered.settings_since, recovered.is_new) == (0, 0, False)
    assert life.pipeline.state.applied_hash == entries[-1].applied_hash
    assert life.recovery.damaged == []
    assert_goes_on(killed, life, 9)


@pytest.mark.usefixtures("model_of_then")
def test_without_a_checkpoint_the_journal_of_then_alone_leads_there(killed: WrittenBefore, lives: list[Lives]) -> None:
    life = workers(killed, lives).start(with_store=False)

    assert (life.recovered.num_batches, life.recovered.settings_since) == (9, 0)
    assert_goes_on(killed, life, 9)


@pytest.mark.usefixtures("model_of_then")
def test_with_a_damaged_checkpoint_the_one_before_leads_there(killed: WrittenBefore, lives: list[Lives]) -> None:
    damage(killed.folder, "epoch-000000000006")

    life = workers(killed, lives).start()

    assert (life.recovered.checkpoint, life.recovered.num_batches) == ("epoch-000000000003", 6)
    assert_goes_on(killed, life, 9)


@pytest.mark.usefixtures("model_of_then")
def test_a_model_that_was_stopped_cleanly_is_loaded_whole_and_goes_on(
    stopped: WrittenBefore, lives: list[Lives]
) -> None:
    _, saved = stopped.store.load("epoch-000000000004")

    life = workers(stopped, lives).start()

    recovered = life.recovered
    assert (recovered.checkpoint, recovered.epoch, recovered.num_batches) == ("epoch-000000000004", 4, 0)
    assert (recovered.origin, recovered.settings_since, recovered.is_new) == (0, 0, False)
    loaded = life.state()
    for part in ("encoder", "learner", "totals"):  # of the quality another version of river keeps less
        assert digest(part_of(loaded, part)) == digest(part_of(saved, part)), part
    assert_goes_on(stopped, life, 4)
    assert life.pipeline.state.learner.is_finite()


@pytest.mark.usefixtures("model_of_then")
@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_what_a_worker_of_now_added_is_continued_by_the_next_one(part: str, tmp_path: Path, lives: list[Lives]) -> None:
    written = written_before(part, tmp_path / "checkpoints")
    of_now = workers(written, lives)
    first = of_now.start()
    first.run(1)
    first.checkpoint()
    first.run()
    state = digest(first.state())

    again = of_now.start()

    assert (again.recovered.checkpoint, again.recovered.num_batches) == (f"epoch-{LAST_EPOCH[part] + 1:012d}", 1)
    assert again.recovered.settings_since == 0
    assert digest(again.state()) == state


# What is looked back at.


def test_what_another_model_computed_is_verified_and_rebuilt_by_its_own_version_alone(killed: WrittenBefore) -> None:
    told = (
        r"was learned with other settings: model.version was 6 and is 7. Ask the version .* that learned it \(0.1.0\)"
    )

    with pytest.raises(ConfigError, match=told):
        past(killed).rebuild(killed.journal()[4], with_lists=True)
    with pytest.raises(ConfigError, match=told):
        verification(killed, with_store=True).run()


@pytest.mark.usefixtures("model_of_then")
def test_verification_can_begin_at_a_checkpoint_of_then(killed: WrittenBefore) -> None:
    report = verification(killed, with_store=True).run(first=6)

    assert (report.start, report.num_epochs, report.num_checkpoints) == ("epoch-000000000006", 3, 0)


@pytest.mark.usefixtures("model_of_then")
@pytest.mark.parametrize("epoch", [3, 6])
def test_a_checkpoint_of_then_is_what_its_log_leads_to(killed: WrittenBefore, epoch: int) -> None:
    """Numbers may differ in their last bits, where this processor or torch sums in another order."""
    _, saved = killed.store.load(f"epoch-{epoch:012d}")
    alone = Past(killed.settings, killed.history, None, lambda: untrained(killed))

    rebuilt = alone.rebuild(killed.journal()[epoch - 1]).state.state()

    for part in ("encoder", "learner", "totals"):
        found, expected = flatten(part_of(rebuilt, part)), flatten(part_of(saved, part))
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-7, err_msg=f"{part}/{name}")


@pytest.mark.usefixtures("model_of_then")
def test_the_settings_of_then_are_read_from_the_checkpoint(stopped: WrittenBefore) -> None:
    moment = stopped.store.manifest("epoch-000000000004").moment
    assert "model.version" not in moment.settings

    found = settings_of(moment, Settings())

    assert changed_settings(moment.settings, found) == {}
    assert (found.model.k, found.evidence.like, found.evidence.owned) == (3, 2.0, ("dislike",))


@pytest.mark.usefixtures("model_of_then")
def test_a_user_of_then_can_be_looked_at(stopped: WrittenBefore) -> None:
    newest = msgspec.json.decode(stopped.log.published("recommendations")[-1].value or b"", type=Recommendation)
    rebuilt = past(stopped).rebuild(stopped.journal()[-1])

    view = view_user(rebuilt.state, rebuilt.state.state(), newest.user, 3)

    assert view.history[0].time_ms == newest.event_ts
    assert len(view.items) == 3


# What is refused.


def refusal(lives: Lives, how: Beginning | None = None) -> str:
    with pytest.raises(RefusedToStart) as raised:
        lives.start(how=how)
    return str(raised.value)


def test_another_version_of_the_model_after_a_crash_is_refused_by_name(
    killed: WrittenBefore, lives: list[Lives]
) -> None:
    of_now = workers(killed, lives)

    for how in (Beginning(), Beginning(accept_model_change=True)):
        message = refusal(of_now, how)

        assert "(model.version was 6 and is 7)" in message
        assert "3 batches after checkpoint epoch-000000000006 were learned by the old ones" in message
        assert "Start the version of Millstream that made it (0.1.0) once" in message
    assert len(killed.journal()) == 9


@pytest.mark.slow
def test_another_version_of_the_model_after_a_clean_stop_is_refused_by_name_until_it_is_accepted(
    stopped: WrittenBefore, lives: list[Lives]
) -> None:
    of_now = workers(stopped, lives)

    assert "since checkpoint epoch-000000000004: model.version was 6 and is 7." in refusal(of_now)

    life = of_now.start(how=Beginning(accept_model_change=True))
    life.run()
    entries = stopped.journal()
    assert_linked(entries)
    assert [(entry.model_version, entry.settings_since) for entry in entries] == [(6, 0)] * 4 + [(7, 4)] * 2
    assert len({entry.config_hash for entry in entries}) == 2


@pytest.mark.usefixtures("model_of_then")
def test_a_hyperparameter_that_nobody_told_then_is_refused_by_name_when_it_is_another_now(
    killed: WrittenBefore, lives: list[Lives], monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another_default(settings: Settings):  # type: ignore[no-untyped-def] # noqa: ANN202
        return replace(learner_config(settings), transitions=TransitionsConfig(position_decay=0.7))

    monkeypatch.setattr(decisive, "learner_config", with_another_default)

    message = refusal(workers(killed, lives))

    assert "model.hyperparameters.transitions.position_decay was 0.8 and is 0.7" in message


def part_of(state: State, name: str) -> State:
    part = state[name]
    assert isinstance(part, dict)
    return part
