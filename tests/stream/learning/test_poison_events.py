"""An event that makes the loss infinite costs itself and nothing else: not its batch, not the stream, nor the model."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch

from online_models import OnlineLearner, digest
from stream.config.settings import Settings
from stream.durability.start_point import Beginning, Kind
from stream.errors import ModelBroken
from stream.learning.poison_events import MAX_OFFENDERS
from stream.learning.worker_state import WorkerState, make_learner
from stream.pipeline import BatchReport
from tests.support.events import NOW_MS, event_bytes
from tests.support.lives import Life, Lives, fast_settings

SETTINGS = fast_settings(
    batching={"max_events": 8}, evidence={"dislike": -1.0, "like": 1.0}, model={"sub_step_events": 2}
)


class Poisoned(OnlineLearner):
    """A learner that a like poisons: it says so, and of the model that has seen it nothing is of use any more."""

    def _learn(self, step, *what) -> int:  # type: ignore[no-untyped-def] # noqa: ANN001, ANN002
        num_skipped = super()._learn(step, *what)
        if not (step.batch.event_types == LIKE).any():
            return num_skipped
        self._scorers["popularity"].counts.fill_(torch.nan)  # type: ignore[attr-defined]
        return num_skipped + 1


class Overflowing(OnlineLearner):
    """A learner whose network cannot stand a like: from it on the logits of the item are infinite, and so is the loss.

    That the update is left out, and is counted, is the work of the real scorer and the real fusion.
    """

    def _begin(self, step):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        likes = step.batch.item_rows[step.batch.event_types == LIKE]
        self._scorers["sequence"].weights.bias[likes] = torch.inf  # type: ignore[attr-defined]
        return super()._begin(step)


LIKE = 4


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(tmp_path / "checkpoints", SETTINGS, num_partitions=1)
    yield lives
    lives.kill()


def poisoned() -> OnlineLearner:
    return Poisoned(make_learner(SETTINGS).config)


def start(lives: Lives, settings: Settings | None = None, how: Beginning | None = None, **options: bool) -> Life:
    return lives.start(settings, how, make_learner=poisoned, **options)


def produce(lives: Lives, kinds: str) -> None:
    """Append a click for every `.`, an event that offends for every `x`, a record that is none for every `-`."""
    for kind in kinds:
        number = len(lives.log.partitions[0])
        event = event_bytes(f"u{number % 3}", f"i{number % 5}", "like" if kind == "x" else "click", id=f"e{number}")
        lives.log.produce(b"bad" if kind == "-" else event, timestamp_ms=NOW_MS)


def letters(lives: Lives) -> list[tuple[str, int]]:
    """Return code and offset of all dead letters."""
    found = [dict(letter.headers) for letter in lives.log.published("events.dlq")]
    pairs = [(headers["millstream.error.code"], headers["millstream.error.offset"]) for headers in found]
    return [(code.decode(), int(offset)) for code, offset in pairs if code and offset]


def without(lives: Lives, offsets: set[int]) -> WorkerState:
    """Return the state of one who never could read the records at these offsets, batch by batch."""
    state = WorkerState(lives.settings, range(1))
    for entry in lives.journal():
        span = entry.partitions[0]
        records = [record for record in lives.log.partitions[0] if span.first <= record.offset < span.next]
        hidden = [record._replace(value=b"bad") if record.offset in offsets else record for record in records]
        state.learn(*state.read(hidden, entry.decisions))
    return state


def assert_only_these_are_left_out(lives: Lives, life: Life, offsets: set[int]) -> None:
    expected = without(lives, offsets)
    found = life.pipeline.state
    for part in ("learner", "encoder", "quality"):
        assert digest(getattr(found, part).state()) == digest(getattr(expected, part).state()), part
    assert found.totals == expected.totals
    assert found.applied_hash == expected.applied_hash
    assert {offset for code, offset in letters(lives) if code == "not_finite"} == offsets
    assert {offset for entry in lives.journal() for offset in entry.excluded.get(0, [])} == offsets


@pytest.mark.parametrize(
    "kinds", ["...x....", "x.......", ".......x", "x", "x.x..x.x", "xx......", "xxxxxxxx", "-x-.-x-.", "........x"]
)
def test_exactly_the_events_that_offend_become_dead_letters_and_all_others_are_learned(
    lives: Lives, kinds: str
) -> None:
    produce(lives, "........" + kinds)
    life = start(lives)

    life.run()

    offenders = {8 + place for place, kind in enumerate(kinds) if kind == "x"}
    assert_only_these_are_left_out(lives, life, offenders)
    assert sorted(letters(lives)) == sorted(
        [("not_finite", offset) for offset in offenders]
        + [("not_json", 8 + place) for place, kind in enumerate(kinds) if kind == "-"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["...x....", "x......x", "x"])
def test_a_loss_that_is_really_infinite_is_found_in_the_same_way(lives: Lives, kinds: str) -> None:
    settings = fast_settings(batching={"max_events": 8}, model={"scorer": "sequence", "sub_step_events": 2})
    lives.settings = settings
    produce(lives, "........" + kinds + "...")
    life = lives.start(make_learner=lambda: Overflowing(make_learner(settings).config))

    life.run()

    assert life.pipeline.state.learner.is_finite()
    assert_only_these_are_left_out(lives, life, {8 + place for place, kind in enumerate(kinds) if kind == "x"})


def test_the_report_and_the_journal_tell_of_the_batch_as_it_was_learned(lives: Lives) -> None:
    produce(lives, "..x...x.")
    (report,) = start(lives).run()

    assert isinstance(report, BatchReport)
    assert (report.step.num_events, report.step.num_nonfinite_steps, len(report.records)) == (6, 0, 8)
    (entry,) = lives.journal()
    assert entry.excluded == {0: [2, 6]}
    assert {name: entry.counts[name] for name in ("events", "learned", "dead_letters")} == {
        "events": 6,
        "learned": 6,
        "dead_letters": 2,
    }


@pytest.mark.parametrize("with_store", [True, False])
def test_after_a_kill_the_batch_is_learned_again_without_its_offenders_and_is_not_searched_again(
    lives: Lives, with_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(lives, "........" + "..x...x." + "........")
    life = start(lives, with_store=with_store)
    life.run()
    before = digest(life.state())
    monkeypatch.setattr("stream.pipeline.isolate", None)

    life = start(lives, with_store=with_store)

    assert digest(life.state()) == before
    assert life.recovered.num_batches == 3
    assert len(letters(lives)) == 2


def test_a_repetition_of_an_event_that_was_left_out_is_the_first_that_counts(lives: Lives) -> None:
    produce(lives, "..x")
    start(lives).run()
    lives.log.produce(event_bytes("u2", "i2", "click", id="e2"), timestamp_ms=NOW_MS)

    (report,) = lives.lives[-1].run()

    assert (report.step.num_learned, report.encoded.num_duplicates) == (1, 0)


@pytest.mark.parametrize(
    ("kind", "with_store"),
    [("cold", True), ("cold", False), ("beginning", True), ("beginning", False), ("checkpoint", True)],
)
def test_the_first_batch_after_any_start_may_hold_an_offender(lives: Lives, kind: Kind, with_store: bool) -> None:
    produce(lives, "." * 16)
    life = start(lives)
    life.run(1)
    life.checkpoint()
    life.run(1)
    life = start(lives, how=Beginning(kind, 1 if kind == "checkpoint" else 0), with_store=with_store)
    origin = life.recovered.origin

    produce(lives, "..x.")
    life.run()
    before = digest(life.state())

    assert letters(lives) == [("not_finite", 18)]
    assert life.pipeline.state.totals["learned"] == (3 if kind == "cold" else 19)
    life = start(lives, with_store=with_store)
    assert (digest(life.state()), life.recovered.origin) == (before, origin)


def test_the_checkpoint_that_was_asked_for_at_the_start_may_be_gone_by_the_first_batch(lives: Lives) -> None:
    produce(lives, "." * 16)
    life = start(lives)
    life.run(1)
    life.checkpoint()
    life.run(1)
    lives.keep = 1
    life = start(lives, how=Beginning("checkpoint", 1))
    life.checkpoint()  # which removes the one of epoch 1

    produce(lives, "x.")
    life.run()

    assert letters(lives) == [("not_finite", 16)]


def test_a_difference_that_was_accepted_at_the_start_is_accepted_when_an_event_offends(lives: Lives) -> None:
    from stream.wire.fingerprint import chained

    produce(lives, "." * 8)
    start(lives).run()
    (entry,) = lives.journal()
    other = msgspec.structs.replace(entry, applied_hash="0" * 16)
    lives.rewrite_journal([msgspec.structs.replace(other, chain=chained("0" * 16, other))])
    life = start(lives, how=Beginning(accept_difference=True))
    produce(lives, "." * 8)
    life.run()

    produce(lives, ".x")
    life.run()

    assert letters(lives) == [("not_finite", 17)]


@pytest.mark.slow
def test_as_many_offenders_as_are_searched_for_are_left_out_and_one_more_is_the_model(lives: Lives) -> None:
    settings = fast_settings(batching={"max_events": 32})
    produce(lives, "x" * MAX_OFFENDERS + "....")
    life = start(lives, settings)
    life.run()
    assert len(letters(lives)) == MAX_OFFENDERS == 16

    produce(lives, "x" * (MAX_OFFENDERS + 1) + "....")
    published = {topic: len(records) for topic, records in lives.log.topics.items()}
    with pytest.raises(ModelBroken, match="more than 16 events of one batch") as broken:
        life.run()

    assert broken.value.exit_code == 9
    assert {topic: len(records) for topic, records in lives.log.topics.items()} == published
    assert lives.log.committed == {0: 20}


def test_a_model_that_is_itself_not_finite_is_no_event_s_fault(lives: Lives) -> None:
    """It is on the disk too, as when it broke before anybody looked."""
    produce(lives, "." * 8)
    life = start(lives)
    life.run()
    scorer = life.pipeline.state.learner._scorers["popularity"]
    scorer.counts[0] = torch.nan  # type: ignore[attr-defined]
    life.checkpoint()
    life = start(lives)

    produce(lives, "..x.")
    with pytest.raises(ModelBroken, match="start with --cold") as broken:
        life.run()

    assert broken.value.exit_code == 9
    assert letters(lives) == []
    assert lives.log.committed == {0: 8}


def test_a_model_that_broke_in_memory_alone_is_replaced_by_what_was_committed(lives: Lives) -> None:
    produce(lives, "." * 8)
    life = start(lives)
    life.run()
    life.pipeline.state.learner._scorers["popularity"].counts.fill_(torch.nan)  # type: ignore[attr-defined]

    produce(lives, "..x.")
    life.run()

    assert_only_these_are_left_out(lives, life, {10})


def test_while_an_offender_is_searched_a_checkpoint_may_be_written(lives: Lives) -> None:
    """The search reads the folder that the writing thread writes to."""
    import threading

    may_go_on, is_writing = threading.Event(), threading.Event()

    def watch(instant: str) -> None:
        if instant == "checkpoint_written":
            is_writing.set()
            may_go_on.wait(60)

    produce(lives, "." * 8)
    life = lives.start(make_learner=poisoned, watch=watch)
    life.run()
    life.clock.advance(1000)
    life.checkpointing.after_batch(life.pipeline)
    assert is_writing.wait(60)

    produce(lives, "..x.")
    life.run()
    may_go_on.set()
    life.checkpointing.finish(life.pipeline)

    assert life.pipeline.checkpoint == "epoch-000000000002"
    assert sorted(path.name for path in lives.folder.glob("epoch-*")) == ["epoch-000000000001", "epoch-000000000002"]
    assert letters(lives) == [("not_finite", 10)]
