"""Everything computed again from the log, and compared with all that is there: journal, checkpoints, lists, offsets.

It only reads. What it says holds for the epochs up to the newest one at its beginning: a worker may go on meanwhile.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from online_models import State, digest, flatten
from stream.checkpoints import CheckpointDamaged, CheckpointForeign, CheckpointStore, Manifest, name_of
from stream.errors import RecordsGone, RefusedToStart, VerificationFailed
from stream.fingerprint import GENESIS, add_records, hex_digits
from stream.moment import Moment
from stream.past import Past, Start
from stream.publish import Publisher
from stream.published import Published
from stream.records import OutRecord, Record
from stream.recovery import UNKNOWN_CHAIN, Difference, JournalBroken, journalled, relearn
from stream.schema import JournalEntry, OffsetRange, Recommendation
from stream.settings import Settings
from stream.state import WorkerState, environment
from stream.transport import History

__all__ = ["Parted", "Report", "Verification"]

SHOWN_CHARS = 300
OFFSET_ATTEMPTS = 20
"""The group's offsets and the journal become visible a moment apart; a difference that stays is one."""
OFFSET_PAUSE_SECONDS = 0.25


class Parted(VerificationFailed):
    """What is there is not what the log leads to."""

    def __init__(self, difference: Difference, hint: str = "") -> None:
        super().__init__(f"log and results part at {difference}{hint}")
        self.difference = difference


@dataclass(slots=True)
class Report:
    """What was found equal."""

    start: str
    """What the learning began from."""
    first_epoch: int
    last_epoch: int
    num_epochs: int = 0
    """Batches that were learned again and compared."""
    num_records: int = 0
    num_checkpoints: int = 0
    num_lists: int = 0
    """Lists that were computed again; their hash is that of the journal."""
    num_lists_there: int = 0
    """How many of them are still in the topic; each was compared byte for byte."""
    records_hash: str = hex_digits(0)
    """Multiset hash of all records of these batches, 16 hex digits."""
    applied_hash: str = ""
    digest: str = ""
    """Of the state after the last epoch, 64 hex digits."""
    offsets_are_equal: bool = False
    """The group's committed offsets are the journal's newest positions; False: the group has none."""
    remarks: list[str] = field(default_factory=list)
    """What was not compared, and why."""

    def __str__(self) -> str:
        return (
            f"equal: {self.num_epochs:,} epochs, {self.num_records:,} records, {self.num_checkpoints:,} checkpoints, "
            f"{self.num_lists:,} lists"
        )


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
        lists = _Lists(self._published, self._settings.topics.recommendations, last.epoch)
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
            told = [{int(p): o for p, o in entry.positions.items()} for entry in self._between(newest, after)]
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
        expected = {int(p): o for p, o in newest.positions.items()}
        wrong = sorted(p for p in {*expected, *committed} if expected.get(p) != committed.get(p))
        what = f"committed offsets of group {self._settings.worker.group_id}"
        return Difference(newest.epoch, what, *(_at(wrong, offsets) for offsets in (expected, committed)))

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
        ours = self._settings.config_hash()
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
        self, starts: list[Start], end: int, lists: "_Lists", faults: list[Difference | None]
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

    def _learn_from_any(self, starts: list[Start], end: int, lists: "_Lists") -> Report | None:
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

    def _learn(self, start: Start, end: int, lists: "_Lists") -> Report:
        report = Report(str(start), start.epoch + 1, end)
        checkpoints = _Checkpoints(self._settings, self._store, self._past.remarks)
        lists.begin()
        state, chain = self._past.load(start)
        before = self._entry_at(start.epoch)
        life: tuple[int, int] | None = None
        total = 0
        for entry in journalled(self._history, start.epoch, chain, end, self._settings.topics.journal):
            if life != (entry.origin, entry.settings_since):
                if life is not None or not self._past.leads_to(start, entry):
                    state = self._untrained_before(entry)
                    report.num_checkpoints += checkpoints.compare(entry.epoch - 1, entry, state)
                life = (entry.origin, entry.settings_since)
            records = self._records(before, entry)
            report.num_lists += self._compare(state, entry, records, lists)
            report.num_checkpoints += checkpoints.compare(entry.epoch, entry, state)
            report.num_epochs += 1
            report.num_records += len(records)
            total, before = add_records(total, records), entry
            self._progress(entry.epoch, end, "learning again")
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
            for each in journal:
                records = self._history.records(each)
                difference, _ = relearn(state, each, records, None)  # what another model made of it does not count
                if difference is not None and difference.expected == each.records_hash:
                    raise Parted(difference)
                self._progress(each.epoch, entry.epoch - 1, "learning what a new model began with")
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
            span = entry.partitions.get(str(record.partition), _NO_RANGE)
            if not span.first <= record.offset < span.next:
                where = f"{record.topic}[{record.partition}]@{record.offset}"
                what = f"the record {where}, which no batch holds"
                raise Parted(Difference(entry.epoch, what, "no record between two batches", "one"))
        return records

    def _compare(self, state: WorkerState, entry: JournalEntry, records: list[Record], lists: "_Lists") -> int:
        """Learn a batch, and return how many lists it made; all is as the journal and the topic of the lists say.

        Raises:
            Parted: something is not.
        """
        totals = dict(state.totals)
        difference, made = relearn(state, entry, records, self._publisher)
        if difference is not None:
            raise Parted(difference, _hint(state))
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


class _Checkpoints:
    """The checkpoints that are passed on the way."""

    def __init__(self, settings: Settings, store: CheckpointStore | None, remarks: list[str]) -> None:
        self._settings, self._store, self._remarks = settings, store, remarks
        self._names = set(store.names()) if store is not None else set()
        self._is_told: set[str] = set()

    def compare(self, epoch: int, entry: JournalEntry, state: WorkerState) -> int:
        """Return 1 if there is a checkpoint of `epoch` and of the model of `entry`, which then is equal; otherwise 0.

        Raises:
            Parted: it is not equal, or not whole.
        """
        name = name_of(epoch)
        if self._store is None or name not in self._names:
            return 0
        try:
            manifest = self._store.manifest(name)
            if not self._is_of(manifest.moment, entry):
                return 0
            saved = self._store.load(name)[1]
        except CheckpointForeign as error:
            self._remarks.append(f"checkpoint {name} was not compared: {error}")
            return 0
        except CheckpointDamaged as error:
            if name not in self._store.names():  # removed by the running worker, which keeps only the newest
                return 0
            raise Parted(Difference(epoch, f"checkpoint {name}", "a whole one", f"a damaged one ({error})")) from error
        self._compare_moment(name, manifest.moment, epoch, entry, state)
        now = state.state()
        if (expected := digest(now)) != manifest.digest:
            what = f"checkpoint {name}: {_first_different(now, saved)}: the digest of the state"
            raise Parted(Difference(epoch, what, expected, manifest.digest), self._environment_hint(manifest, state))
        return 1

    def _is_of(self, moment: Moment, entry: JournalEntry) -> bool:
        app = (self._settings.worker.transactional_id, self._settings.topics.events)
        life = (moment.origin, moment.settings_since, moment.config_hash)
        return (moment.app, moment.topic) == app and life == (entry.origin, entry.settings_since, entry.config_hash)

    def _compare_moment(self, name: str, moment: Moment, epoch: int, entry: JournalEntry, state: WorkerState) -> None:
        pairs: list[tuple[str, object, object]] = [("totals", dict(state.totals), moment.totals)]
        if epoch == entry.epoch:
            pairs += [("chain", entry.chain, moment.chain), ("positions", entry.positions, moment.positions)]
        for what, expected, found in pairs:
            if expected != found:
                raise Parted(Difference(epoch, f"checkpoint {name}: its {what}", str(expected), str(found)))

    def _environment_hint(self, manifest: Manifest, state: WorkerState) -> str:
        then, now = manifest.moment.environment, environment(state.learner, self._settings)
        other = [f"{name} {then.get(name)}, here {now[name]}" for name in now if then.get(name) != now[name]]
        return f". It was computed with {'; '.join(other)}, which can change the last bits" if other else ""


def _first_different(expected: State, found: State) -> str:
    """Return the path of the first part that is not the same in two states."""
    ours, theirs = flatten(expected), flatten(found)
    for path in sorted({*ours, *theirs}):
        mine, other = ours.get(path), theirs.get(path)
        if mine is None or other is None or mine.dtype != other.dtype or mine.tobytes() != other.tobytes():
            return path
    return "nothing but its manifest"


class _Found(NamedTuple):
    """A list in the topic."""

    digest: bytes
    partition: int
    offset: int


class _Epoch(msgspec.Struct):
    epoch: int


class _Lists:
    """The lists that are still in their topic, as hashes.

    Args:
        published: where they are read from, all of them now and one again when it is shown.
        topic: how messages call it.
        last: lists of later epochs are of a worker that goes on.

    Raises:
        Parted: a record is no list.
    """

    def __init__(self, published: Published, topic: str, last: int) -> None:
        self._published, self._topic, self._last = published, topic, last
        self._found: dict[int, dict[bytes, list[_Found]]] = {}
        self._newest: dict[bytes, int] = {}
        self._erased: set[bytes] = set()
        self.out_of_order: Difference | None = None
        """A list after a newer one of its user, whom it takes back."""
        self.num_compared = 0
        self._made: dict[bytes, int] = {}
        for record in published.lists():
            self._take(record)

    @property
    def num_erased(self) -> int:
        """Users whose newest record says that they are erased."""
        return len(self._erased)

    def _take(self, record: Record) -> None:
        key = record.key or b""
        if record.value is None:
            self._erased.add(key)
            return
        try:
            epoch = msgspec.json.decode(record.value, type=_Epoch).epoch
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"the record {self._topic}[{record.partition}]@{record.offset}"
            raise Parted(Difference(self._last, what, "a list", f"something else ({error})")) from None
        self._erased.discard(key)
        found = _Found(_hashed(record.value), record.partition, record.offset)
        # Of later epochs only the number counts; of these lists, nothing but whether there is one.
        if epoch <= self._last:
            self._found.setdefault(epoch, {}).setdefault(key, []).append(found)
        if epoch < self._newest.get(key, 0) and epoch <= self._last and self.out_of_order is None:
            newer = f"none after that of epoch {self._newest[key]}"
            self.out_of_order = Difference(epoch, self._called(key, found), newer, "one of an older epoch")
        self._newest[key] = max(epoch, self._newest.get(key, 0))

    def begin(self) -> None:
        """Forget what was compared so far."""
        self.num_compared = 0
        self._made = {}

    def compare(self, epoch: int, made: list[OutRecord]) -> None:
        """Compare the lists of a batch, made again, with those that are still there.

        Raises:
            Parted: one was changed, is there twice, or was never made.
        """
        there = self._found.get(epoch, {})
        expected = {record.key or b"": record.value or b"" for record in made}
        for key, found in there.items():
            if key not in expected:
                raise Parted(Difference(epoch, self._called(key, found[0]), "no list of him in this batch", "one"))
            if len(found) > 1:
                where = " and ".join(f"[{one.partition}]@{one.offset}" for one in found)
                raise Parted(Difference(epoch, f"list of user {_text(key)} in {self._topic}", "it once", where))
            if found[0].digest != _hashed(expected[key]):
                apart = _told_apart(expected[key], self._value(found[0]))
                raise Parted(Difference(epoch, self._called(key, found[0]), *apart))
        self.num_compared += len(there)
        self._made.update(dict.fromkeys(expected, epoch))

    def missing(self) -> Difference | None:
        """Return the earliest list that is its user's newest and is not there; only after all were compared."""
        gone = [
            (epoch, key)
            for key, epoch in self._made.items()
            if self._newest.get(key, 0) < epoch and key not in self._erased
        ]
        if not gone:
            return None
        epoch, key = min(gone)
        there = f"none newer than that of epoch {self._newest[key]}" if key in self._newest else "none of him"
        what = f"list of user {_text(key)} in {self._topic}" + (f" (and {len(gone) - 1} more)" if len(gone) > 1 else "")
        return Difference(epoch, what, "his newest list", there)

    def beyond(self, newest: int) -> Difference | None:
        """Return a list of an epoch after the newest of the journal."""
        late = [(epoch, key) for key, epoch in self._newest.items() if epoch > newest]
        if not late:
            return None
        epoch, key = min(late)
        what = f"list of user {_text(key)} in {self._topic}"
        return Difference(epoch, what, f"none, as the journal ends at epoch {newest}", "one")

    def _called(self, key: bytes, found: _Found) -> str:
        return f"list of user {_text(key)} in {self._topic}[{found.partition}]@{found.offset}"

    def _value(self, found: _Found) -> bytes:
        for record in self._published.lists():
            if (record.partition, record.offset) == (found.partition, found.offset):
                return record.value or b""
        return b""


def _hashed(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).digest()


def _text(key: bytes) -> str:
    return repr(key.decode("utf-8", "replace"))


def _told_apart(expected: bytes, found: bytes) -> tuple[str, str]:
    """Return what is different in two lists."""
    try:
        ours, theirs = (msgspec.json.decode(value, type=Recommendation) for value in (expected, found))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _cut(expected), _cut(found)
    for place, pair in enumerate(zip_longest(ours.items, theirs.items), 1):
        if pair[0] != pair[1]:
            ours_there, theirs_there = (msgspec.json.encode(item).decode() if item else "nothing" for item in pair)
            return f"at place {place} {ours_there}", theirs_there
    for name in ("user", "generated_at", "event_ts", "epoch", "model"):
        if getattr(ours, name) != getattr(theirs, name):
            return f"{name} {getattr(ours, name)}", str(getattr(theirs, name))
    return _cut(expected), _cut(found)


def _cut(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
