"""Everything computed again from the log, and compared with all that is there: journal, checkpoints, lists, offsets.

It only reads. What it says holds for the epochs up to the newest one at its beginning: a worker may go on meanwhile.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from online_models import digest
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointStore
from stream.durability.divergence import Difference
from stream.durability.journal import UNKNOWN_CHAIN, JournalBroken, journalled
from stream.durability.point_in_time import Past, Start
from stream.durability.relearn import Relearned, replay
from stream.durability.verification.checkpoints import Checkpoints
from stream.durability.verification.lists import Lists
from stream.durability.verification.report import Parted, Report
from stream.errors import RecordsGone, RefusedToStart
from stream.learning.decisive import config_hash
from stream.learning.worker_state import WorkerState
from stream.log.protocols import History, Published
from stream.publish import Publisher
from stream.wire.fingerprint import GENESIS, add_hashes, hex_digits
from stream.wire.records import Record
from stream.wire.schema import JournalEntry, OffsetRange

__all__ = ["Verification"]

OFFSET_ATTEMPTS = 20
"""The group's offsets and the journal become visible a moment apart; a difference that stays is one."""
OFFSET_PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class _Life:
    """Consecutive batches of one model with one set of settings."""

    first_epoch: int
    origin: int
    settings_since: int
    config_hash: str

    def can_be_learned(self, config_hash: str) -> bool:
        """Return whether an untrained model with these settings leads there."""
        return self.settings_since == self.origin and self.config_hash == config_hash


@dataclass(slots=True)
class _Walk:
    """What the journal is by itself."""

    lives: list[_Life]
    first_epoch: int
    fault: Difference | None = None


class Verification:
    """Learns the journalled batches again and compares.

    Args:
        settings: all settings; those that decide what is learned must be those of the last epoch.
        history: the log and its journal; owned by the caller.
        published: the lists and the group's offsets; owned by the caller.
        store: the checkpoints; None: there are none.
        make_state: makes an untrained state.
        progress: told the epoch that was reached, the last one and what is being done.
        pause: waits a moment between two looks at the group's offsets.
    """

    def __init__(
        self,
        settings: Settings,
        history: History,
        published: Published,
        store: CheckpointStore | None,
        make_state: Callable[[], WorkerState],
        *,
        progress: Callable[[int, int, str], None] = lambda _epoch, _last, _what: None,
        pause: Callable[[], None] = lambda: time.sleep(OFFSET_PAUSE_SECONDS),
    ) -> None:
        self._settings, self._history, self._published, self._store = settings, history, published, store
        self._make_state, self._progress, self._pause = make_state, progress, pause
        self._past = Past(settings, history, store, make_state)
        self._publisher = Publisher(settings, settings.topics.max_message_bytes)
        self._has_offsets = False

    def run(self, first: int | None = None, until: int | None = None) -> Report:
        """Return what is equal.

        Args:
            first: the epoch after which to begin, of a checkpoint; 0: the beginning; None: as early as is possible.
            until: the last epoch to be compared; None: the newest now.

        Raises:
            Parted: something is not equal; the earliest epoch in which it is.
            ConfigError: the settings are not those that the last epoch was learned with.
            RefusedToStart: what the comparison has to begin from is gone.
        """
        newest = self._past.entry(None)
        last = newest if until is None else self._past.entry(until)
        self._past.check_settings(last)
        offsets = self._compare_offsets(newest)
        walk = self._walk(last.epoch)
        end = last.epoch if walk.fault is None else walk.fault.epoch - 1
        lists = Lists(self._published, self._settings.topics.recommendations, last.epoch)
        faults = [walk.fault, lists.out_of_order, lists.beyond(self._past.entry(None).epoch)]
        report = self._learn_until_parted(self._starts(walk, first, end), end, lists, faults)
        found = [fault for fault in faults if fault is not None]
        found = found or ([offsets] if offsets is not None else [])  # last: a lost entry says more than its offsets
        if found:
            raise Parted(min(found, key=lambda fault: fault.epoch))
        assert report is not None
        report.offsets_are_equal = self._has_offsets
        report.remarks += self._past.remarks
        if lists.num_erased:
            report.remarks.append(f"{lists.num_erased:,} users are erased from {self._settings.topics.recommendations}")
        return report

    # What can be said without learning.

    def _compare_offsets(self, newest: JournalEntry) -> Difference | None:
        """Compare the group's offsets with the journal's, of which a running worker commits new ones all the time."""
        committed: dict[int, int] = {}
        for attempt in range(OFFSET_ATTEMPTS):
            if attempt:
                self._pause()
            committed = self._published.committed()
            after = self._past.entry(None)
            told = [entry.positions for entry in self._between(newest, after)]
            if committed in told:
                self._has_offsets = True
                return None
            if not committed:
                self._past.remarks.append(
                    f"group {self._settings.worker.group_id} has no committed offsets (Kafka drops those of a group "
                    "that was away for a week), so they were not compared with the journal's"
                )
                return None
            newest = after
        expected = newest.positions
        wrong = sorted(p for p in {*expected, *committed} if expected.get(p) != committed.get(p))
        what = f"committed offsets of group {self._settings.worker.group_id}"
        return Difference(newest.epoch, what, _at(wrong, expected), _at(wrong, committed))

    def _between(self, first: JournalEntry, last: JournalEntry) -> Iterator[JournalEntry]:
        yield first
        if last.epoch > first.epoch:
            for entry in self._history.entries(first.epoch + 1):
                yield entry
                if entry.epoch >= last.epoch:
                    return

    def _walk(self, last: int) -> _Walk:
        """Read the journal once: every entry there, each the next link, each going on where the one before ended."""
        first = next(self._history.entries(1))
        walk = _Walk([], first.epoch)
        chain = GENESIS if first.epoch == 1 else UNKNOWN_CHAIN
        before: JournalEntry | None = None
        try:
            for entry in journalled(self._history, first.epoch - 1, chain, last, self._settings.topics.journal):
                walk.fault = _offset_fault(before, entry)
                if walk.fault is not None:
                    return walk
                life = (entry.origin, entry.settings_since, entry.config_hash)
                if before is None or life != (before.origin, before.settings_since, before.config_hash):
                    walk.lives.append(_Life(entry.epoch, *life))
                before = entry
                self._progress(entry.epoch, last, "reading the journal")
        except JournalBroken as broken:
            walk.fault = broken.difference
        return walk

    # What to learn from.

    def _starts(self, walk: _Walk, first: int | None, end: int) -> list[Start]:
        """Return what the learning may begin from, the earliest first."""
        if not walk.lives or end < walk.first_epoch:
            return []
        ours = config_hash(self._settings)
        reachable = len(walk.lives)
        while reachable and walk.lives[reachable - 1].can_be_learned(ours):
            reachable -= 1
        starts = [
            Start(life.first_epoch - 1)
            for life in walk.lives[reachable:]
            if life.first_epoch > walk.first_epoch or life.origin == walk.first_epoch - 1
        ]
        floor = walk.lives[min(reachable, len(walk.lives) - 1)]
        entry = self._past.entry(end)
        starts += [start for start in self._past.checkpoints(entry) if start.epoch >= floor.first_epoch - 1]
        starts.sort(key=lambda start: (start.epoch, start.checkpoint is not None))
        why = self._why_not_all(walk, floor, reachable)
        chosen = starts if first is None else [start for start in starts if start.epoch == first]
        if not chosen:
            if walk.fault is not None:
                return []
            wanted = "at the beginning" if first == 0 else "anywhere" if first is None else f"after epoch {first}"
            there = ", ".join(str(start) for start in starts) or "nothing"
            raise RefusedToStart(f"it cannot begin {wanted}: {why or 'there is no such checkpoint'}. Possible: {there}")
        if why and first is None:
            self._past.remarks.append(why)
        return chosen

    def _why_not_all(self, walk: _Walk, floor: _Life, reachable: int) -> str:
        if reachable > 0:
            return (
                f"the settings that decide what is learned changed after epoch {floor.first_epoch - 1}: of the batches "
                "up to there the journal was read, and nothing was learned"
            )
        if walk.first_epoch > 1:
            return f"the journal begins at epoch {walk.first_epoch}"
        return ""

    def _learn_until_parted(
        self, starts: list[Start], end: int, lists: Lists, faults: list[Difference | None]
    ) -> Report | None:
        """Learn from the first start whose records are still there; add what is found to `faults`.

        Returns:
            What is equal; None: something is not, or there is nothing before the first fault.
        """
        report, known = None, [fault.epoch for fault in faults if fault is not None]
        try:
            report = self._learn_from_any(starts, end, lists)
            faults.append(lists.missing() if report is not None else None)
        except Parted as parted:
            if not known or parted.difference.epoch <= min(known):
                raise
        except (RecordsGone, CheckpointDamaged) as error:
            if not known:
                raise RefusedToStart(f"there is nothing left to begin from: {error}") from error
        return report

    def _learn_from_any(self, starts: list[Start], end: int, lists: Lists) -> Report | None:
        gone: RecordsGone | CheckpointDamaged | None = None
        for start in starts:
            try:
                return self._learn(start, end, lists)
            except (RecordsGone, CheckpointDamaged) as error:
                gone = error
                self._past.remarks.append(f"it could not begin from {start}: {error}")
        if gone is not None:
            raise gone
        return None

    # Learning again.

    def _learn(self, start: Start, end: int, lists: Lists) -> Report:
        report = Report(str(start), start.epoch + 1, end)
        checkpoints = Checkpoints(self._settings, self._store, self._past.remarks)
        lists.begin()
        state, chain = self._past.load(start)
        before = self._entry_at(start.epoch)
        life: tuple[int, int] | None = None
        totals: dict[str, int] = {}
        total = 0

        def learner_of(entry: JournalEntry) -> WorkerState:
            nonlocal state, life, totals
            if life != (entry.origin, entry.settings_since):
                if life is not None or not self._past.leads_to(start, entry):
                    state = self._untrained_before(entry)
                    report.num_checkpoints += checkpoints.compare(entry.epoch - 1, entry, state)
                life = (entry.origin, entry.settings_since)
            totals = dict(state.totals)
            return state

        def records_of(entry: JournalEntry) -> list[Record]:
            return self._records(before, entry)

        entries = journalled(self._history, start.epoch, chain, end, self._settings.topics.journal)
        for done in replay(entries, records_of, learner_of, lambda _: self._publisher):
            report.num_lists += self._compare(state, totals, done, lists)
            report.num_checkpoints += checkpoints.compare(done.entry.epoch, done.entry, state)
            report.num_epochs += 1
            report.num_records += len(done.records or ())
            total, before = add_hashes(total, [int(done.entry.records_hash, 16)]), done.entry
            self._progress(done.entry.epoch, end, "learning again")
        report.num_lists_there = lists.num_compared
        report.records_hash, report.applied_hash = hex_digits(total), state.applied_hash
        report.digest = digest(state.state())
        return report

    def _entry_at(self, epoch: int) -> JournalEntry | None:
        found = next(self._history.entries(epoch), None) if epoch else None
        return found if found is not None and found.epoch == epoch else None

    def _untrained_before(self, entry: JournalEntry) -> WorkerState:
        """Return the state that the model of `entry` began with: it may have learned the batches since its origin."""
        state = self._make_state()
        journal = journalled(self._history, entry.origin, UNKNOWN_CHAIN, entry.epoch - 1, self._settings.topics.journal)
        try:
            for done in replay(journal, self._history.records, lambda _: state):
                difference = done.difference  # what another model made of the same records does not count
                if difference is not None and difference.are_other_records:
                    raise Parted(difference)
                self._progress(done.entry.epoch, entry.epoch - 1, "learning what a new model began with")
        except JournalBroken as broken:
            raise RecordsGone(
                f"the model of epoch {entry.epoch} began after epoch {entry.origin}: {broken}"
            ) from broken
        return state

    def _records(self, before: JournalEntry | None, entry: JournalEntry) -> list[Record]:
        """Return all records between the positions before and after a batch: none may lie outside it.

        Raises:
            Parted: one does.
            RecordsGone: some are no longer there.
        """
        if before is None:
            return self._history.records(entry)
        spans = {
            name: OffsetRange(before.positions.get(name, entry.partitions.get(name, _NO_RANGE).first), offset)
            for name, offset in entry.positions.items()
            if name in before.positions or name in entry.partitions
        }
        spans = {name: span for name, span in spans.items() if span.first < span.next}
        try:
            records = self._history.records(msgspec.structs.replace(entry, partitions=spans))
        except RecordsGone:  # markers between two batches may be gone while all records are there
            return self._history.records(entry)
        for record in records:
            span = entry.partitions.get(record.partition, _NO_RANGE)
            if not span.first <= record.offset < span.next:
                where = f"{record.topic}[{record.partition}]@{record.offset}"
                what = f"the record {where}, which no batch holds"
                raise Parted(Difference(entry.epoch, what, "no record between two batches", "one"))
        return records

    def _compare(self, state: WorkerState, totals: dict[str, int], done: Relearned, lists: Lists) -> int:
        """Return how many lists a batch made; all is as the journal and the topic of the lists say.

        Args:
            state: after the batch.
            totals: its counts before the batch.
            done: the batch, learned again.
            lists: those in the topic.

        Raises:
            Parted: something is not.
        """
        entry, made = done.entry, done.lists or []
        if done.difference is not None:
            raise Parted(done.difference, _hint(state))
        counts = {name: count - totals.get(name, 0) for name, count in state.totals.items()} | {"lists": len(made)}
        for name in sorted({*counts, *entry.counts}):
            if counts.get(name, 0) != entry.counts.get(name, 0):
                # Expected is what follows from the log, as what the journal says is what is being doubted.
                what = f"the journal's count of {name}"
                raise Parted(Difference(entry.epoch, what, str(counts.get(name, 0)), str(entry.counts.get(name, 0))))
        lists.compare(entry.epoch, made)
        return len(made)


_NO_RANGE = OffsetRange(0, 0)


def _hint(state: WorkerState) -> str:
    """Return why it may have come out differently although nothing is wrong with the log."""
    if state.learner.device == "cpu":
        return ""
    return f". Learned again on {state.learner.device}, where the last bits differ from run to run"


def _at(partitions: list[int], offsets: dict[int, int]) -> str:
    return ", ".join(f"[{partition}]@{offsets.get(partition, 'none')}" for partition in partitions)


def _offset_fault(before: JournalEntry | None, entry: JournalEntry) -> Difference | None:
    """Return where the offsets of a batch do not go on from those of the one before."""
    for name, span in entry.partitions.items():
        if not span.first < span.next or entry.positions.get(name) != span.next:
            what = f"the journal's offsets of {entry.topic}[{name}]"
            at = f"a position of {entry.positions.get(name, 'none')}"
            return Difference(entry.epoch, what, f"a range that ends at it, [{span.first}, {span.next})", at)
    for name, position in before.positions.items() if before is not None else ():
        first = entry.partitions[name].first if name in entry.partitions else entry.positions.get(name, -1)
        if first < position:
            what = f"the journal's offsets of {entry.topic}[{name}]"
            return Difference(entry.epoch, what, f"to go on at {position} or later", f"{first}")
    return None
