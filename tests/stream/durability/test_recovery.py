"""Whatever happens in whatever order, recovery leads to the state that follows from the log, or refuses."""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from online_models import State, digest
from stream.durability.checkpoints import name_of
from stream.durability.start_point import Beginning
from stream.errors import RefusedToStart, TransactionInDoubt
from stream.learning.worker_state import WorkerState
from stream.wire.decisions import Decisions
from stream.wire.records import Record
from tests.support.lives import Lives, damage, fast_settings

NUM_STORIES = 8

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


@pytest.mark.slow
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
