"""Why a start is refused: each reason in words, with what to do about it."""

from collections.abc import Mapping
from typing import Any

from online_models import MODEL_VERSION
from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointDamaged, CheckpointForeign, CheckpointStore
from stream.durability.divergence import Difference
from stream.durability.start_point import Recovered
from stream.errors import RecordsGone, RefusedToStart
from stream.ingest.decode import DECODE_VERSION
from stream.learning.decisive import changed_settings, config_hash, is_of_software
from stream.wire.position import Moment
from stream.wire.schema import JournalEntry

__all__ = ["REMEDY", "Refusals", "told_changes"]

REMEDY = (
    "To go on with an untrained model: millstream run --cold. To make a new model of all that is still in the log: "
    "millstream run --from-beginning"
)


class Refusals:
    """What cannot be gone on from. The methods that return nothing raise, where there is a reason.

    Args:
        settings: all settings.
        store: the checkpoints; None: there are none.
    """

    def __init__(self, settings: Settings, store: CheckpointStore | None) -> None:
        self._settings, self._store = settings, store
        self._config_hash = config_hash(settings)
        self._journal = f"topic {settings.topics.journal}"
        self._where = "checkpoints.url is empty" if store is None else f"checkpoints in {store.shown!r}"

    # Of the checkpoints.

    def other_workers(self, newest: JournalEntry | None) -> None:
        """Refuse a folder with checkpoints of another worker, before anything in it is written or removed."""
        settings, store = self._settings, self._store
        ours = {(settings.worker.transactional_id, settings.topics.events)}
        if newest is not None and settings.worker.resume_from == "journal":
            ours.add((newest.app, newest.topic))  # the worker was renamed, and somebody has said so
        for name in store.names() if store is not None else ():
            try:
                moment = store.manifest(name).moment  # type: ignore[union-attr]
            except (CheckpointDamaged, CheckpointForeign):
                continue
            if (moment.app, moment.topic) not in ours:
                raise RefusedToStart(
                    f"checkpoint {name} in {self._where} is of worker {moment.app} on topic {moment.topic}, this is "
                    f"worker {settings.worker.transactional_id} on {settings.topics.events}: give each a folder of its "
                    "own (checkpoints.url). Was the worker renamed? Then start once with "
                    "--set worker.resume_from=journal"
                )

    def foreign_checkpoint(
        self, name: str, moment: Moment, newest: JournalEntry | None, positions: Mapping[int, int]
    ) -> None:
        """Refuse a checkpoint that the journal does not lead to: of other partitions, or of another cluster."""
        if set(moment.positions) != set(positions):
            raise RefusedToStart(
                f"topic {moment.topic} has {len(positions)} partitions, and checkpoint {name} was made with "
                f"{len(moment.positions)}: users are now in other partitions. {REMEDY}"
            )
        if newest is None and dict(positions) != moment.positions:
            raise RefusedToStart(
                f"{self._journal} is empty, and checkpoint {name} was made at {moment.positions}, "
                f"while the group is at {dict(positions)}: the topics were made anew, or this is another cluster. "
                "Point kafka.bootstrap_servers or checkpoints.url at the right ones; to begin a new life, move the "
                f"old checkpoints away ({self._where})"
            )
        # One that is older than the life of the newest model was left behind by those who have heeded this already.
        if newest is not None and moment.epoch > newest.epoch and moment.origin >= newest.origin:
            raise RefusedToStart(
                f"checkpoint {name} knows epoch {moment.epoch}, and the newest one in {self._journal} "
                f"is {newest.epoch}: the brokers have lost what they had acknowledged, or this is another cluster. "
                "Lists that were read already may not be in the log any more. "
                f"Nothing is learned on top of that unasked. {REMEDY}"
            )

    def changed_rules(self, name: str, moment: Moment, newest: JournalEntry | None) -> None:
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
            f"over with --accept-model-change. {REMEDY}"
        )

    def unaccepted_rules(self, name: str, moment: Moment, newest: JournalEntry | None) -> None:
        """Refuse to go on from a checkpoint of the newest commit by other rules than its own."""
        changed = changed_settings(moment.settings, self._settings)
        if not changed or (newest is not None and newest.epoch > moment.epoch):  # then the journal has told of it
            return
        raise RefusedToStart(
            f"settings that decide what is learned have changed since checkpoint {name}: {told_changes(changed)}. "
            f"{_way_back(changed, moment)}, or go on from epoch {moment.epoch} by the new ones, which the journal "
            f"will tell: millstream run --accept-model-change. {REMEDY}"
        )

    def no_checkpoint_of(self, epoch: int) -> RefusedToStart:
        """Return why the checkpoint that was asked for cannot be taken."""
        if self._store is None:
            return RefusedToStart("--from-checkpoint: checkpoints.url is empty, so there are none")
        return RefusedToStart(
            f"--from-checkpoint {epoch}: {self._where} holds none of that epoch that can be used, but "
            f"{', '.join(self._store.names()) or 'none at all'}"
        )

    # Of the journal.

    def journal_alone(self, newest: JournalEntry) -> None:
        """Refuse to learn all again by the journal alone where that is not how the model came to be."""
        has_changed = newest.settings_since != newest.origin
        if not has_changed and newest.config_hash == self._config_hash:
            return
        versions = _other_versions(newest)
        way_back = (
            f"Start with {'that version of Millstream' if versions else 'the settings of before'} and stop with "
            "SIGTERM, then change over. "
        )
        raise RefusedToStart(
            f"there is no usable checkpoint, and the journal alone does not tell how the model of epoch "
            f"{newest.epoch} came to be: the settings that decide what is learned have changed{versions}. "
            f"{self._where}. {'' if has_changed else way_back}{REMEDY}"
        )

    def broken_link(self, epoch: int) -> RefusedToStart:
        """Return why an entry cannot follow from what the checkpoints know."""
        return RefusedToStart(
            f"{self._journal}: epoch {epoch} does not continue what {self._where} knows: "
            "an entry was lost or changed, the topics were made anew, or this is another cluster. "
            f"Point kafka.bootstrap_servers or checkpoints.url at the right ones. {REMEDY}"
        )

    def journal_gap(self, expected: int, found: JournalEntry | None) -> RefusedToStart:
        """Return what is missing in the journal."""
        return RefusedToStart(
            f"{self._journal}: epoch {expected} is needed and is not there; the next one is "
            f"{found.epoch if found else 'none'}. The journal must be kept longer than the oldest checkpoint. {REMEDY}"
        )

    # Of the log.

    def overtaken(self, error: RecordsGone, base: Recovered, entry: JournalEntry) -> RefusedToStart:
        """Return what is lost where records that have to be learned again are gone."""
        return RefusedToStart(
            f"{error}: retention overtook the newest usable checkpoint (epoch {base.epoch - base.num_batches}), "
            f"compaction took records, or the topic was made anew. {entry.counts.get('events', 0)} events and what "
            f"follows cannot be learned again. {REMEDY}. "
            "Give the topic a retention longer than checkpoints.interval_seconds and your longest outage"
        )

    def other_log(self, newest: JournalEntry) -> RefusedToStart:
        """Return why the records of the newest batch are no base to go on from."""
        return RefusedToStart(
            f"topic {newest.topic}: other records stand where those of epoch {newest.epoch} were: it was made "
            f"anew, or this is another cluster. {REMEDY}"
        )

    def nothing_whole(self, newest: JournalEntry) -> RefusedToStart:
        """Return why there is nothing to make a new model of."""
        return RefusedToStart(
            f"topic {newest.topic}: the newest journalled batch is not whole in the log any more, so there is "
            "nothing to re-learn: start with --cold"
        )

    # Of the outcome.

    def other_outcome(self, difference: Difference, base: Recovered) -> RefusedToStart:
        """Return what may have made the re-learned state another one."""
        if base.environment_changes:
            told = ", ".join(f"{name} {change}" for name, change in base.environment_changes.items())
            cause = f"The checkpoint was computed with other software or another machine ({told})"
        else:
            cause = (
                "The log or the checkpoint changed, the machine computes differently, or this is a defect of ours "
                "(please report it)"
            )
        return RefusedToStart(
            f"what was re-learned is not what was published: {difference}. {cause}. "
            "millstream verify says where they part. To go on with the model that is nearly the same: "
            "millstream run --accept-difference"
        )


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
