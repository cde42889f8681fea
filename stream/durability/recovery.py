"""From what is written down to the state that it stands for: a checkpoint, and the journalled batches after it.

Recovery decides nothing: which records made a batch, when they were decoded and which were left out is in the journal.
It publishes nothing either. What it cannot rebuild exactly it refuses, with what to do.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointStore, name_of
from stream.durability.divergence import Difference
from stream.durability.journal import UNKNOWN_CHAIN, JournalBroken, journalled
from stream.durability.lineage import is_of_this_life, life_of
from stream.durability.refusals import REMEDY, Refusals, told_changes
from stream.durability.relearn import replay
from stream.durability.start_point import Beginning, Recovered, load_saved
from stream.errors import RecordsGone
from stream.failpoints import Watch, unwatched
from stream.learning.decisive import changed_settings
from stream.learning.worker_state import WorkerState, environment
from stream.log.protocols import History
from stream.logs import log_event
from stream.publish import Publisher
from stream.wire.fingerprint import GENESIS, add_records, hex_digits
from stream.wire.records import Record
from stream.wire.schema import JournalEntry

__all__ = ["Recovery"]

PROGRESS_SECONDS = 5.0


class Recovery:
    """Rebuilds the state after the newest commit, as often as it is asked to.

    Args:
        settings: all settings.
        open_history: opens what was committed; it is closed again at the end of each recovery.
        store: the checkpoints; None: there are none.
        make_state: makes an untrained state.
        watch: see `stream.failpoints`.
        progress: told what is going on, a few times a minute, in words.
    """

    def __init__(
        self,
        settings: Settings,
        open_history: Callable[[], History],
        store: CheckpointStore | None,
        make_state: Callable[[], WorkerState],
        watch: Watch = unwatched,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings, self._open_history, self._store = settings, open_history, store
        self._make_state, self._watch, self.progress = make_state, watch, progress
        self._refusals = Refusals(settings, store)
        self.damaged: list[str] = []
        """Checkpoints that were passed over because they are damaged."""

    def recover(self, newest: JournalEntry | None, positions: Mapping[int, int], how: Beginning) -> Recovered:
        """Return the state after `newest`.

        Args:
            newest: the newest entry of the journal; None: there is none.
            positions: where the transport goes on, which counts only when the journal is empty.
            how: what to start from.

        Raises:
            RefusedToStart: it cannot be rebuilt; the message says why and what to do.
        """
        begun = time.monotonic()
        self._refusals.other_workers(newest)
        with closing(self._open_history()) as self._history:
            base = self._base(newest, positions, how)
            if newest is not None and how.kind != "cold":
                self._replay(base, newest, how)
        base.seconds = time.monotonic() - begun
        self._watch("recovered")
        return base

    def lock_folder(self, confirm: Callable[[], None]) -> None:
        """Keep other workers out of the checkpoints, after the worker that held them was fenced.

        Args:
            confirm: raises when another worker has fenced this one since.

        Raises:
            RefusedToStart: a worker of another identity holds them.
        """
        if self._store is not None:
            owner = f"{self._settings.worker.transactional_id} on topic {self._settings.topics.events}"
            self._store.lock(owner, confirm=confirm)

    def fresh(self) -> WorkerState:
        """Return an untrained state."""
        return self._make_state()

    # What to start from.

    def _base(self, newest: JournalEntry | None, positions: Mapping[int, int], how: Beginning) -> Recovered:
        if how.kind == "cold":
            epoch, chain = (newest.epoch, newest.chain) if newest else (0, GENESIS)
            return Recovered(self._make_state(), epoch, chain, epoch, epoch, is_new=self._has_past(newest))
        if how.kind == "beginning":
            return self._from_beginning(newest)
        loaded = self._from_checkpoint(newest, positions, how)
        if loaded is not None:
            self._watch("checkpoint_loaded")
            return loaded
        if newest is None:
            return Recovered(self._make_state(), 0, GENESIS, 0, 0)
        return self._from_origin(newest)

    def _from_beginning(self, newest: JournalEntry | None) -> Recovered:
        """Return an untrained state before the first entry of the journal; see `_begin_after` for what is gone."""
        first = None if newest is None else next(self._history.entries(1), newest)
        lost = 0 if first is None else first.epoch - 1
        chain = UNKNOWN_CHAIN if lost else GENESIS
        return Recovered(self._make_state(), lost, chain, lost, lost, num_lost=lost, is_new=self._has_past(newest))

    def _has_past(self, newest: JournalEntry | None) -> bool:
        return newest is not None or (self._store is not None and bool(self._store.names()))

    def _begin_after(self, base: Recovered, entry: JournalEntry) -> None:
        """Begin the rebuilt model's life anew after a batch that is not whole: it is to know all that came since."""
        if base.num_batches:
            base.state, base.num_batches, base.num_records = self._make_state(), 0, 0
        base.epoch = base.origin = base.settings_since = base.num_lost = entry.epoch
        base.chain = entry.chain

    def _from_origin(self, newest: JournalEntry) -> Recovered:
        """Return an untrained state where the model's life began: every batch since will be re-learned."""
        self._refusals.journal_alone(newest)
        chain = GENESIS
        if newest.origin:
            first = next(self._history.entries(newest.origin), None)
            if first is None or first.epoch != newest.origin:
                raise self._refusals.journal_gap(newest.origin, first)
            chain = first.chain
        return Recovered(self._make_state(), newest.origin, chain, newest.origin, newest.origin)

    def _from_checkpoint(
        self, newest: JournalEntry | None, positions: Mapping[int, int], how: Beginning
    ) -> Recovered | None:
        if self._store is None:
            if how.kind == "checkpoint":
                raise self._refusals.no_checkpoint_of(how.epoch)
            return None
        for name in self._store.names():
            if how.kind == "checkpoint" and name != name_of(how.epoch):
                continue
            try:
                moment = self._store.manifest(name).moment
                self._refusals.foreign_checkpoint(name, moment, newest, positions)
                if newest is not None and not is_of_this_life(moment, newest):
                    log_event(logging.INFO, "checkpoint_of_an_earlier_model", checkpoint=name)
                    continue
                self._refusals.changed_rules(name, moment, newest)
                self.progress(f"loading checkpoint {name}")
                return self._load(name, newest, how)
            except CheckpointDamaged as error:
                if name not in self.damaged:
                    self.damaged.append(name)
                log_event(logging.ERROR, "checkpoint_damaged", checkpoint=name, reason=str(error))
        if how.kind == "checkpoint":
            raise self._refusals.no_checkpoint_of(how.epoch)
        return None

    def _load(self, name: str, newest: JournalEntry | None, how: Beginning) -> Recovered:
        assert self._store is not None
        manifest, saved = self._store.load(name)
        moment, state = manifest.moment, self._make_state()
        if not how.accept_model_change:
            self._refusals.unaccepted_rules(name, moment, newest)
        changed = changed_settings(moment.settings, self._settings)
        load_saved(state, saved, changed, name, f". Go back to what it was made with. {REMEDY}")
        if changed:
            log_event(logging.WARNING, "settings_changed", settings=told_changes(changed), since_epoch=moment.epoch)
        now = environment(state.learner)
        other = {
            key: f"{moment.environment.get(key)} -> {now[key]}"
            for key in now
            if moment.environment.get(key) != now[key]
        }
        if other:
            log_event(logging.WARNING, "environment_changed", checkpoint=name, **other)
        since = moment.epoch if changed else moment.settings_since
        recovered = Recovered(state, moment.epoch, moment.chain, moment.origin, since, manifest)
        recovered.environment_changes = other
        return recovered

    # Learning again.

    def _replay(self, base: Recovered, newest: JournalEntry, how: Beginning) -> None:
        is_rebuild = how.kind == "beginning"
        publisher = Publisher(self._settings, self._settings.topics.max_message_bytes)
        said = time.monotonic()

        def is_this_model(entry: JournalEntry) -> bool:
            # A rebuilt model is another one than the journal tells of, before and after its own first commit.
            return not is_rebuild and life_of(entry) == life_of(newest)

        for done in replay(
            self._entries_after(base, newest),
            lambda entry: self._records(entry, base, is_rebuild=is_rebuild),
            lambda _: base.state,
            lambda entry: publisher if entry.epoch == newest.epoch and is_this_model(entry) else None,
        ):
            entry, difference = done.entry, done.difference
            if done.records is None or (difference and difference.are_other_records):
                if difference and not is_rebuild:
                    raise self._refusals.overtaken(_other_records(difference, entry), base, entry)
                self._begin_after(base, entry)
                continue
            if difference and is_this_model(entry):
                self._differs(difference, entry, base, how)
            base.epoch, base.chain = entry.epoch, entry.chain
            base.num_batches += 1
            base.num_records += sum(entry.counts.get(name, 0) for name in ("events", "dead_letters"))
            self._watch("batch_relearned")
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                self.progress(f"re-learning: at epoch {entry.epoch} of {newest.epoch}")
                log_event(logging.INFO, "relearning", epoch=entry.epoch, of=newest.epoch, records=base.num_records)
        if is_rebuild and not base.num_batches:
            raise self._refusals.nothing_whole(newest)
        if not base.num_batches:
            self._refuse_other_log(newest)

    def _refuse_other_log(self, newest: JournalEntry) -> None:
        """Refuse a topic that was made anew and has grown past what was learned: its offsets alone look right."""
        try:
            records = self._history.records(newest)
        except RecordsGone:
            return
        is_whole = len(records) >= sum(newest.counts.get(name, 0) for name in ("events", "dead_letters"))
        if is_whole and hex_digits(add_records(0, records)) != newest.records_hash:  # fewer: compaction took some
            raise self._refusals.other_log(newest)

    def _records(self, entry: JournalEntry, base: Recovered, *, is_rebuild: bool) -> list[Record] | None:
        """Return the records of a batch; None where they are not all there, which a rebuild alone can do without."""
        try:
            return self._history.records(entry)
        except RecordsGone as error:
            if is_rebuild:
                return None
            raise self._refusals.overtaken(error, base, entry) from error

    def _entries_after(self, base: Recovered, newest: JournalEntry) -> Iterator[JournalEntry]:
        """Yield the entries after the base, each checked to be the next link of the chain."""
        if base.epoch >= newest.epoch:
            if newest.chain != base.chain:
                raise self._refusals.broken_link(newest.epoch)
            return
        try:
            yield from journalled(self._history, base.epoch, base.chain, newest.epoch)
        except JournalBroken as broken:
            epoch, found = broken.difference.epoch, broken.found
            refusal = self._refusals.journal_gap(epoch, found) if broken.is_gap else self._refusals.broken_link(epoch)
            raise refusal from broken

    def _differs(self, difference: Difference, entry: JournalEntry, base: Recovered, how: Beginning) -> None:
        are_same_events = base.state.applied_hash == entry.applied_hash
        is_expected = base.state.learner.device != "cpu" and are_same_events  # only of numbers, and only on a GPU
        if not is_expected and not how.accept_difference:
            raise self._refusals.other_outcome(difference, base)
        fields = {"difference": str(difference), "device": base.state.learner.device}
        log_event(logging.WARNING, "recovered_model_differs", **fields)


def _other_records(difference: Difference, entry: JournalEntry) -> RecordsGone:
    return RecordsGone(f"{entry.topic}: epoch {entry.epoch}: {difference.what}")
