"""The model of any journalled moment: the newest usable checkpoint before it, and the batches up to it learned again.

It only reads. What it rebuilds is what the worker had then, or it says why that cannot be.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from online_models import State
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign, CheckpointStore, Manifest
from stream.durability.journal import UNKNOWN_CHAIN, journalled
from stream.durability.lineage import leads_to
from stream.durability.refusals import told_changes
from stream.durability.relearn import replay
from stream.durability.start_point import load_saved
from stream.errors import ConfigError, RecordsGone, RefusedToStart, VerificationFailed
from stream.learning.decisive import changed_settings, completed, config_hash, decisive_settings, is_of_software
from stream.learning.worker_state import WorkerState, environment
from stream.log.protocols import History
from stream.publish import Publisher
from stream.wire.fingerprint import GENESIS
from stream.wire.position import Moment
from stream.wire.records import OutRecord
from stream.wire.schema import JournalEntry

__all__ = [
    "Past",
    "Rebuilt",
    "Start",
    "load_into",
    "moment_of",
    "settings_of",
]


@dataclass(frozen=True, slots=True)
class Start:
    """A state to begin from: the one after `epoch`."""

    epoch: int
    checkpoint: str | None = None
    """None: an untrained one."""

    def __str__(self) -> str:
        return self.checkpoint or f"an untrained model after epoch {self.epoch}"


@dataclass(slots=True)
class Rebuilt:
    """The state after `entry`."""

    state: WorkerState
    entry: JournalEntry
    start: Start
    num_batches: int = 0
    """Batches that were learned again."""
    num_records: int = 0
    lists: list[OutRecord] | None = None
    """The lists of the batch of `entry`, made again; None: that batch came with the checkpoint."""
    remarks: list[str] = field(default_factory=list)


class Past:
    """Rebuilds past states as often as it is asked to.

    Args:
        settings: all settings; those that decide what is learned must be those of the moment asked for.
        history: what was committed; owned by the caller.
        store: the checkpoints; None: there are none.
        make_state: makes an untrained state.
        progress: told the epoch that was reached and the one that is wanted.
    """

    def __init__(
        self,
        settings: Settings,
        history: History,
        store: CheckpointStore | None,
        make_state: Callable[[], WorkerState],
        progress: Callable[[int, int], None] = lambda _epoch, _last: None,
    ) -> None:
        self._settings, self._history, self._store = settings, history, store
        self._make_state, self._progress = make_state, progress
        self._config_hash = config_hash(settings)
        self.remarks: list[str] = []
        """Checkpoints that were passed over, and why."""

    def entry(self, epoch: int | None) -> JournalEntry:
        """Return the journal's entry of `epoch`; None: the newest.

        Raises:
            RefusedToStart: it is not there.
        """
        topic, newest = self._settings.topics.journal, self._history.newest()
        if newest is None:
            raise RefusedToStart(
                f"topic {topic}: no batch of {self._settings.topics.events} is journalled there, so there is nothing "
                "to look at: is kafka.bootstrap_servers the right cluster?"
            )
        if epoch is None or epoch == newest.epoch:
            return newest
        found = next(self._history.entries(epoch), None) if 1 <= epoch < newest.epoch else None
        if found is None or found.epoch != epoch:
            first = next(self._history.entries(1), newest)
            raise RefusedToStart(
                f"topic {topic}: epoch {epoch} is not in the journal, which holds epochs {first.epoch} to "
                f"{newest.epoch}"
            )
        return found

    def check_settings(self, entry: JournalEntry) -> None:
        """Return if `entry` was learned with the settings of now.

        Raises:
            ConfigError: it was not; the message says what differs, as far as a checkpoint tells.
        """
        if entry.config_hash == self._config_hash:
            return
        for _, manifest in self._manifests():
            if manifest.moment.config_hash == entry.config_hash:
                changed = changed_settings(manifest.moment.settings, self._settings)
                remedy = "Give the former ones"
                if any(map(is_of_software, changed)):
                    made_by = manifest.moment.environment.get("millstream", "unknown")
                    remedy = f"Ask the version of Millstream that learned it ({made_by})"
                raise ConfigError(
                    f"epoch {entry.epoch} was learned with other settings: {told_changes(changed)}. {remedy}"
                )
        raise ConfigError(
            f"epoch {entry.epoch} was learned with other settings (config_hash {entry.config_hash}, now "
            f"{self._config_hash}), and no checkpoint holds them: give those of the worker (--config, --set)"
        )

    def checkpoints(self, entry: JournalEntry) -> list[Start]:
        """Return the checkpoints at or before `entry` that its model came from, the newest first."""
        return [
            Start(manifest.moment.epoch, name)
            for name, manifest in self._manifests()
            if manifest.moment.epoch <= entry.epoch and leads_to(manifest.moment, entry)
        ]

    def leads_to(self, start: Start, entry: JournalEntry) -> bool:
        """Return whether the model of `entry`, the first one after `start`, is the one that begins there."""
        if start.checkpoint is None:
            return start.epoch == entry.origin == entry.settings_since
        assert self._store is not None
        return leads_to(self._store.manifest(start.checkpoint).moment, entry)

    def load(self, start: Start) -> tuple[WorkerState, str]:
        """Return the state of a start, and the journal's chain at it.

        Raises:
            CheckpointDamaged: the checkpoint is not whole.
            RefusedToStart: it does not fit.
        """
        state = self._make_state()
        if start.checkpoint is not None:
            assert self._store is not None
            manifest, saved = self._store.load(start.checkpoint)
            load_into(state, manifest.moment, saved, self._settings, start.checkpoint)
            return state, manifest.moment.chain
        if start.epoch == 0:
            return state, GENESIS
        before = next(self._history.entries(start.epoch), None)
        return state, before.chain if before is not None and before.epoch == start.epoch else UNKNOWN_CHAIN

    def rebuild(self, entry: JournalEntry, *, with_lists: bool = False) -> Rebuilt:
        """Return the state after `entry`.

        Args:
            entry: of the moment that is wanted.
            with_lists: make the lists of that batch again, which takes a checkpoint before it.

        Raises:
            ConfigError: see `check_settings`.
            RefusedToStart: no checkpoint leads there, and records or entries of the way from the beginning are gone.
            VerificationFailed: what came out is not what the journal says.
        """
        self.check_settings(entry)
        gone: RecordsGone | None = None
        for start in self._starts(entry, with_lists=with_lists):
            if gone is not None and start.epoch < entry.epoch:
                continue  # what an older start needs is gone too
            try:
                state, chain = self.load(start)
                rebuilt = Rebuilt(state, entry, start)
                self._learn(rebuilt, chain, with_lists=with_lists)
                return rebuilt
            except CheckpointDamaged as error:
                self.remarks.append(f"checkpoint {start.checkpoint} was passed over, as it is damaged: {error}")
            except RecordsGone as error:
                gone = error
        if gone is not None:
            raise gone
        raise RefusedToStart(
            f"epoch {entry.epoch} cannot be rebuilt: its model began with settings that changed at epoch "
            f"{entry.settings_since}, so only a checkpoint of epoch {entry.settings_since} to {entry.epoch} leads "
            f"there, and {self._where()} holds none that is whole"
        )

    def _starts(self, entry: JournalEntry, *, with_lists: bool) -> list[Start]:
        starts = self.checkpoints(entry)
        if entry.settings_since == entry.origin:
            starts.append(Start(entry.origin))
        if with_lists:  # the batch itself is learned again, if there is a way
            starts.sort(key=lambda start: start.epoch == entry.epoch)
        return starts

    def _learn(self, rebuilt: Rebuilt, chain: str, *, with_lists: bool) -> None:
        entry, state = rebuilt.entry, rebuilt.state
        publisher = Publisher(self._settings, self._settings.topics.max_message_bytes) if with_lists else None
        topic = self._settings.topics.journal
        for done in replay(
            journalled(self._history, rebuilt.start.epoch, chain, entry.epoch, topic),
            lambda each: self._records(each, rebuilt),
            lambda _: state,
            lambda each: publisher if each.epoch == entry.epoch else None,
        ):
            each, difference = done.entry, done.difference
            is_of_another = (each.origin, each.settings_since) != (entry.origin, entry.settings_since)
            are_others = difference is not None and difference.are_other_records
            if difference is not None and (are_others or not is_of_another):  # a rebuilt model learned in its own way
                if are_others or state.learner.device == "cpu":
                    raise VerificationFailed(f"{difference}. millstream verify says more")
                rebuilt.remarks.append(f"{difference} (bits may differ on {state.learner.device})")
            rebuilt.num_batches += 1
            rebuilt.num_records += sum(each.counts.get(name, 0) for name in ("events", "dead_letters"))
            rebuilt.lists = done.lists
            self._progress(each.epoch, entry.epoch)

    def _records(self, each: JournalEntry, rebuilt: Rebuilt) -> list[Any]:
        try:
            return self._history.records(each)
        except RecordsGone as error:
            raise RecordsGone(
                f"{error}: epoch {rebuilt.entry.epoch} cannot be rebuilt from {rebuilt.start}, the newest start before "
                f"it. Later epochs can, from the checkpoints in {self._where()} (millstream inspect lists them)"
            ) from error

    def _manifests(self) -> Iterator[tuple[str, Manifest]]:
        """Yield the readable manifests of this worker's checkpoints, the newest first."""
        worker, topic = self._settings.worker.transactional_id, self._settings.topics.events
        for name in self._store.names() if self._store is not None else []:
            assert self._store is not None
            try:
                manifest = self._store.manifest(name)
            except (CheckpointDamaged, CheckpointForeign) as error:
                remark = f"checkpoint {name} was passed over: {error}"
                if remark not in self.remarks:
                    self.remarks.append(remark)
                continue
            if (manifest.moment.app, manifest.moment.topic) == (worker, topic):
                yield name, manifest

    def _where(self) -> str:
        return self._store.shown if self._store is not None else "checkpoints.url (which is empty)"


def load_into(state: WorkerState, moment: Moment, saved: State, settings: Settings, name: str) -> None:
    """Give an untrained state what a checkpoint holds; the windows of the quality only if their settings are the same.

    Raises:
        RefusedToStart: it does not fit these settings.
    """
    load_saved(state, saved, changed_settings(moment.settings, settings), name)


def settings_of(moment: Moment, settings: Settings) -> Settings:
    """Return `settings` with those that decide what is learned as they were at a moment.

    Raises:
        RefusedToStart: this version of Millstream does not know them all, or learns in another way.
    """
    tree, told = settings.model_dump(), completed(moment.settings)
    for name, value in told.items():
        if not is_of_software(name):
            section, _, key = name.partition(".")
            tree.setdefault(section, {})[key] = value
    # The batches of then had room in the tables of then; those of now have nothing to do with it.
    capacity = min(tree["model"]["user_capacity"], tree["model"]["item_capacity"])
    tree["batching"]["max_events"] = min(tree["batching"]["max_events"], capacity)
    try:
        made_with = Settings.model_validate(tree)
    except ValueError as error:
        raise RefusedToStart(
            f"the settings of epoch {moment.epoch} are not those of this Millstream: {error}"
        ) from error
    if changed := changed_settings(told, made_with):
        raise RefusedToStart(
            f"the state of epoch {moment.epoch} is of another model: {told_changes(changed)}. Ask the version of "
            f"Millstream that made it ({moment.environment.get('millstream', 'unknown')})"
        )
    return made_with


def moment_of(rebuilt: Rebuilt, settings: Settings) -> Moment:
    """Return where in the stream a rebuilt state stands."""
    entry = rebuilt.entry
    return Moment(
        app=entry.app,
        topic=entry.topic,
        epoch=entry.epoch,
        chain=entry.chain,
        positions=entry.positions,
        origin=entry.origin,
        settings_since=entry.settings_since,
        config_hash=config_hash(settings),
        settings=decisive_settings(settings),
        environment=environment(rebuilt.state.learner),
        totals=dict(rebuilt.state.totals),
    )
