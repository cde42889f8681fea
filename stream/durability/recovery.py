"""From what is written down to the state that it stands for: a checkpoint, and the journalled batches after it.

Recovery decides nothing: which records made a batch, when they were decoded and which were left out is in the journal.
It publishes nothing either. What it cannot rebuild exactly it refuses, with what to do.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from online_models import MODEL_VERSION, State, StateError
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign, CheckpointStore, Manifest, name_of
from stream.durability.divergence import Difference
from stream.durability.journal import UNKNOWN_CHAIN, JournalBroken, journalled
from stream.durability.relearn import relearn
from stream.errors import RecordsGone, RefusedToStart
from stream.failpoints import Watch, unwatched
from stream.ingest.decode import DECODE_VERSION
from stream.learning.decisive import changed_settings, config_hash, is_of_software
from stream.learning.worker_state import WorkerState, environment
from stream.log.protocols import History
from stream.logs import log_event
from stream.publish import Publisher
from stream.wire.fingerprint import GENESIS, add_records, hex_digits
from stream.wire.position import Moment
from stream.wire.schema import JournalEntry

__all__ = ["Beginning", "Kind", "Recovered", "Recovery", "is_of_this_life", "load_saved", "told_changes"]

Kind = Literal["newest", "checkpoint", "beginning", "cold"]

PROGRESS_SECONDS = 5.0
_REMEDY = (
    "To go on with an untrained model: millstream run --cold. To make a new model of all that is still in the log: "
    "millstream run --from-beginning"
)


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a worker starts from.

    `newest`: the newest usable checkpoint. `checkpoint`: the one of `epoch`. `beginning`: an untrained model that
    re-learns all journalled batches that are still in the log. `cold`: an untrained model at the committed offsets.
    """

    kind: Kind = "newest"
    epoch: int = 0
    accept_difference: bool = False
    """Go on although what was re-learned is not bit for bit what was published from."""
    accept_model_change: bool = False
    """Go on from the newest commit although settings that decide what is learned are not those of before."""


@dataclass(slots=True)
class Recovered:
    """A state, and the moment of the stream that it stands at."""

    state: WorkerState
    epoch: int
    chain: str
    origin: int
    settings_since: int
    manifest: Manifest | None = None
    """Of the checkpoint that it was made from."""
    num_batches: int = 0
    """Batches that were re-learned after it."""
    num_records: int = 0
    num_lost: int = 0
    """Journalled batches that could not be re-learned because their records are gone; only from the beginning."""
    is_new: bool = False
    """The log and the checkpoints do not lead here by themselves: it has to be written down before the next commit."""
    seconds: float = field(default=0.0, compare=False)

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that it was made from."""
        return None if self.manifest is None else name_of(self.manifest.moment.epoch)


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
        self._config_hash = config_hash(settings)
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
        self._refuse_others(newest)
        with closing(self._open_history()) as self._history:
            base = self._base(newest, positions, how)
            if newest is not None and how.kind != "cold":
                self._replay(base, newest, how)
        base.seconds = time.monotonic() - begun
        self._watch("recovered")
        return base

    def lock_folder(self, confirm: Callable[[], None]) -> None:
        """Keep other workers out of the checkpoints; once, after the worker that held them was fenced.

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
        has_changed = newest.settings_since != newest.origin
        if has_changed or newest.config_hash != self._config_hash:
            versions = _other_versions(newest)
            way_back = (
                f"Start with {'that version of Millstream' if versions else 'the settings of before'} and stop with "
                "SIGTERM, then change over. "
            )
            raise RefusedToStart(
                f"there is no usable checkpoint, and the journal alone does not tell how the model of epoch "
                f"{newest.epoch} came to be: the settings that decide what is learned have changed{versions}. "
                f"{self._where()}. {'' if has_changed else way_back}{_REMEDY}"
            )
        chain = GENESIS
        if newest.origin:
            first = next(self._history.entries(newest.origin), None)
            if first is None or first.epoch != newest.origin:
                raise self._journal_gap(newest.origin, first)
            chain = first.chain
        return Recovered(self._make_state(), newest.origin, chain, newest.origin, newest.origin)

    def _from_checkpoint(
        self, newest: JournalEntry | None, positions: Mapping[int, int], how: Beginning
    ) -> Recovered | None:
        if self._store is None:
            if how.kind == "checkpoint":
                raise RefusedToStart("--from-checkpoint: checkpoints.url is empty, so there are none")
            return None
        for name in self._store.names():
            if how.kind == "checkpoint" and name != name_of(how.epoch):
                continue
            try:
                moment = self._store.manifest(name).moment
                self._refuse_foreign(name, moment, newest, positions)
                if newest is not None and not is_of_this_life(moment, newest):
                    log_event(logging.INFO, "checkpoint_of_an_earlier_model", checkpoint=name)
                    continue
                self._refuse_changed(name, moment, newest)
                self.progress(f"loading checkpoint {name}")
                return self._load(name, newest, how)
            except CheckpointDamaged as error:
                if name not in self.damaged:
                    self.damaged.append(name)
                log_event(logging.ERROR, "checkpoint_damaged", checkpoint=name, reason=str(error))
        if how.kind == "checkpoint":
            raise RefusedToStart(
                f"--from-checkpoint {how.epoch}: {self._where()} holds none of that epoch that can be used, but "
                f"{', '.join(self._store.names()) or 'none at all'}"
            )
        return None

    def _load(self, name: str, newest: JournalEntry | None, how: Beginning) -> Recovered:
        assert self._store is not None
        manifest, saved = self._store.load(name)
        moment, state = manifest.moment, self._make_state()
        changed = changed_settings(moment.settings, self._settings)
        if not how.accept_model_change:
            self._refuse_unaccepted(name, moment, changed, newest)
        load_saved(state, saved, changed, name, f". Go back to what it was made with. {_REMEDY}")
        if changed:
            log_event(logging.WARNING, "settings_changed", settings=told_changes(changed), since_epoch=moment.epoch)
        self._say_other_environment(name, moment, state)
        since = moment.epoch if changed else moment.settings_since
        return Recovered(state, moment.epoch, moment.chain, moment.origin, since, manifest)

    def _refuse_others(self, newest: JournalEntry | None) -> None:
        """Refuse a folder with checkpoints of another worker, before anything in it is written or removed."""
        settings = self._settings
        ours = {(settings.worker.transactional_id, settings.topics.events)}
        if newest is not None and settings.worker.resume_from == "journal":
            ours.add((newest.app, newest.topic))  # the worker was renamed, and somebody has said so
        for name in self._store.names() if self._store is not None else ():
            try:
                moment = self._store.manifest(name).moment  # type: ignore[union-attr]
            except (CheckpointDamaged, CheckpointForeign):
                continue
            if (moment.app, moment.topic) not in ours:
                raise RefusedToStart(
                    f"checkpoint {name} in {self._where()} is of worker {moment.app} on topic {moment.topic}, this is "
                    f"worker {settings.worker.transactional_id} on {settings.topics.events}: give each a folder of its "
                    "own (checkpoints.url). Was the worker renamed? Then start once with "
                    "--set worker.resume_from=journal"
                )

    def _refuse_foreign(
        self, name: str, moment: Moment, newest: JournalEntry | None, positions: Mapping[int, int]
    ) -> None:
        settings = self._settings
        if set(moment.positions) != set(positions):
            raise RefusedToStart(
                f"topic {moment.topic} has {len(positions)} partitions, and checkpoint {name} was made with "
                f"{len(moment.positions)}: users are now in other partitions. {_REMEDY}"
            )
        if newest is None and dict(positions) != moment.positions:
            raise RefusedToStart(
                f"topic {settings.topics.journal} is empty, and checkpoint {name} was made at {moment.positions}, "
                f"while the group is at {dict(positions)}: the topics were made anew, or this is another cluster. "
                "Point kafka.bootstrap_servers or checkpoints.url at the right ones; to begin a new life, move the "
                f"old checkpoints away ({self._where()})"
            )
        # One that is older than the life of the newest model was left behind by those who have heeded this already.
        if newest is not None and moment.epoch > newest.epoch and moment.origin >= newest.origin:
            raise RefusedToStart(
                f"checkpoint {name} knows epoch {moment.epoch}, and the newest one in topic {settings.topics.journal} "
                f"is {newest.epoch}: the brokers have lost what they had acknowledged, or this is another cluster. "
                "Lists that were read already may not be in the log any more. "
                f"Nothing is learned on top of that unasked. {_REMEDY}"
            )

    def _refuse_changed(self, name: str, moment: Moment, newest: JournalEntry | None) -> None:
        """Refuse to learn again by other rules than those of then, which nobody can accept.

        Rules that were changed, and journalled, right after the checkpoint are those of `newest`.
        """
        if newest is None or newest.epoch == moment.epoch or newest.config_hash == self._config_hash:
            return
        changed = changed_settings(moment.settings, self._settings)
        told = told_changes(changed) or "back to what they were at the checkpoint"
        raise RefusedToStart(
            f"settings that decide what is learned have changed ({told}), and {newest.epoch - moment.epoch} batches "
            f"after checkpoint {name} were learned by the old ones, so they have to be learned again by the old ones. "
            f"{_way_back(changed, moment)} once and stop with SIGTERM, which leaves nothing to re-learn, then change "
            f"over with --accept-model-change. {_REMEDY}"
        )

    def _refuse_unaccepted(
        self, name: str, moment: Moment, changed: Mapping[str, tuple[Any, Any]], newest: JournalEntry | None
    ) -> None:
        """Refuse to go on by other rules than those of the newest batch."""
        if not changed or (newest is not None and newest.epoch > moment.epoch):  # then the journal has told of it
            return
        raise RefusedToStart(
            f"settings that decide what is learned have changed since checkpoint {name}: {told_changes(changed)}. "
            f"{_way_back(changed, moment)}, or go on from epoch {moment.epoch} by the new ones, which the journal "
            f"will tell: millstream run --accept-model-change. {_REMEDY}"
        )

    # Learning again.

    def _replay(self, base: Recovered, newest: JournalEntry, how: Beginning) -> None:
        is_rebuild = how.kind == "beginning"
        publisher = Publisher(self._settings, self._settings.topics.max_message_bytes)
        said = time.monotonic()
        for entry in self._entries_after(base, newest):
            # A rebuilt model is another one than the journal tells of, before and after its own first commit.
            is_this_model = not is_rebuild and _life(entry) == _life(newest)
            is_last = entry.epoch == newest.epoch
            try:
                difference = self._relearn(base, entry, publisher if is_this_model and is_last else None)
            except RecordsGone as error:
                if not is_rebuild:
                    raise self._overtaken(error, base, entry) from error
                self._begin_after(base, entry)
                continue
            if difference and is_this_model:
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
            raise RefusedToStart(
                f"topic {newest.topic}: the newest journalled batch is not whole in the log any more, so there is "
                "nothing to re-learn: start with --cold"
            )
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
            raise RefusedToStart(
                f"topic {newest.topic}: other records stand where those of epoch {newest.epoch} were: it was made "
                f"anew, or this is another cluster. {_REMEDY}"
            )

    def _relearn(self, base: Recovered, entry: JournalEntry, publisher: Publisher | None) -> Difference | None:
        """Learn a batch again; raises RecordsGone, and learns nothing, if its records are not all there, or others."""
        difference, _ = relearn(base.state, entry, self._history.records(entry), publisher)
        if difference and difference.are_other_records:
            raise RecordsGone(f"{entry.topic}: epoch {entry.epoch}: {difference.what}")
        return difference

    def _overtaken(self, error: RecordsGone, base: Recovered, entry: JournalEntry) -> RefusedToStart:
        return RefusedToStart(
            f"{error}: retention overtook the newest usable checkpoint (epoch {base.epoch - base.num_batches}), "
            f"compaction took records, or the topic was made anew. {entry.counts.get('events', 0)} events and what "
            f"follows cannot be learned again. {_REMEDY}. "
            "Give the topic a retention longer than checkpoints.interval_seconds and your longest outage"
        )

    def _entries_after(self, base: Recovered, newest: JournalEntry) -> Iterator[JournalEntry]:
        """Yield the entries after the base, each checked to be the next link of the chain."""
        if base.epoch >= newest.epoch:
            self._expect_link(newest.chain == base.chain, newest.epoch)
            return
        try:
            yield from journalled(self._history, base.epoch, base.chain, newest.epoch)
        except JournalBroken as broken:
            epoch = broken.difference.epoch
            self._expect_link(broken.is_gap, epoch)
            raise self._journal_gap(epoch, broken.found) from broken

    def _expect_link(self, is_linked: bool, epoch: int) -> None:
        if not is_linked:
            raise RefusedToStart(
                f"topic {self._settings.topics.journal}: epoch {epoch} does not continue what {self._where()} knows: "
                "an entry was lost or changed, the topics were made anew, or this is another cluster. "
                f"Point kafka.bootstrap_servers or checkpoints.url at the right ones. {_REMEDY}"
            )

    def _journal_gap(self, expected: int, found: JournalEntry | None) -> RefusedToStart:
        return RefusedToStart(
            f"topic {self._settings.topics.journal}: epoch {expected} is needed and is not there; the next one is "
            f"{found.epoch if found else 'none'}. The journal must be kept longer than the oldest checkpoint. {_REMEDY}"
        )

    def _differs(self, difference: Difference, entry: JournalEntry, base: Recovered, how: Beginning) -> None:
        are_same_events = base.state.applied_hash == entry.applied_hash
        is_expected = base.state.learner.device != "cpu" and are_same_events  # only of numbers, and only on a GPU
        if not is_expected and not how.accept_difference:
            raise RefusedToStart(
                f"what was re-learned is not what was published: {difference}. The log or the checkpoint changed, the "
                "software or the machine computes differently, or this is a defect of ours (please report it). "
                "millstream verify says where they part. To go on with the model that is nearly the same: "
                "millstream run --accept-difference"
            )
        fields = {"difference": str(difference), "device": base.state.learner.device}
        log_event(logging.WARNING, "recovered_model_differs", **fields)

    def _say_other_environment(self, name: str, moment: Moment, state: WorkerState) -> None:
        now = environment(state.learner)
        other = {key: f"{moment.environment.get(key)} -> {value}" for key, value in now.items()}
        other = {key: change for key, change in other.items() if moment.environment.get(key) != now[key]}
        if other:
            log_event(logging.WARNING, "environment_changed", checkpoint=name, **other)

    def _where(self) -> str:
        return "checkpoints.url is empty" if self._store is None else f"checkpoints in {self._store.shown!r}"


def load_saved(state: WorkerState, saved: State, changed: Collection[str], name: str, remedy: str = "") -> None:
    """Give an untrained state what a checkpoint holds; the windows of the quality only if their settings are the same.

    Args:
        state: to be filled.
        saved: what the checkpoint holds.
        changed: names of the decisive settings that are different now.
        name: of the checkpoint.
        remedy: ends the message.

    Raises:
        RefusedToStart: it does not fit these settings.
    """
    has_other_windows = any(setting.startswith("quality.") or setting == "model.k" for setting in changed)
    try:
        state.load(saved, with_quality=not has_other_windows)
    except StateError as error:
        since = ", ".join(changed) or "?"
        raise RefusedToStart(
            f"checkpoint {name} does not fit these settings ({error}); changed since: {since}{remedy}"
        ) from error


def told_changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Return changed settings for people, with their values then and now."""
    return "; ".join(f"{name} was {then!r} and is {now!r}" for name, (then, now) in changed.items())


def _way_back(changed: Mapping[str, object], moment: Moment) -> str:
    """Return how to have the rules of before, as the beginning of a sentence."""
    if any(map(is_of_software, changed)):
        return f"Start the version of Millstream that made it ({moment.environment.get('millstream', 'unknown')})"
    return "Start with the old settings"


def _other_versions(newest: JournalEntry) -> str:
    """Return what the journal tells of the software that learned its newest batch, where it was other software."""
    pairs = (("the model", newest.model_version, MODEL_VERSION), ("decoding", newest.decode_version, DECODE_VERSION))
    others = [f"version {then} of {what}, here it is {now}" for what, then, now in pairs if then != now]
    return f" (it was learned with {' and '.join(others)})" if others else ""


def is_of_this_life(moment: Moment, newest: JournalEntry) -> bool:
    """Return whether the model of `newest` came from this checkpoint: none that a cold start or rebuild left behind."""
    if moment.epoch == newest.epoch and moment.chain == newest.chain:
        return True
    if moment.origin != newest.origin:
        return False
    return moment.epoch == newest.settings_since or (
        moment.config_hash == newest.config_hash and moment.settings_since == newest.settings_since
    )


def _life(entry: JournalEntry) -> tuple[int, int, str]:
    """Return what is the same for all batches that one model learned with one choice of settings."""
    return entry.origin, entry.settings_since, entry.config_hash
