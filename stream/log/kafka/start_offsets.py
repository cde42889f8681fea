"""Where a worker begins to read: at the committed offsets, once group and journal agree on them."""

import logging
from dataclasses import dataclass
from typing import Any

from kafka import TopicPartition

from stream.config.settings import Settings
from stream.errors import RefusedToStart
from stream.logs import log_event
from stream.wire.schema import JournalEntry

__all__ = ["StartOffsets", "start_offsets"]

Offsets = dict[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class StartOffsets:
    """The offset to begin at for every partition, and whether the group has committed all of them already."""

    offsets: Offsets
    is_committed: bool


def start_offsets(
    consumer: Any, partitions: list[TopicPartition], entry: JournalEntry | None, settings: Settings
) -> StartOffsets:
    """Return where to begin.

    A partition without a committed offset begins as `worker.start` says on the first start of the group, and at its
    beginning afterwards, because it was added meanwhile.

    Args:
        consumer: a client of the group.
        partitions: all of the events topic.
        entry: the newest journal entry for that topic.
        settings: all settings.

    Raises:
        RefusedToStart: another application publishes from the same events, group and journal disagree, or an offset
            lies outside the log.
    """
    _refuse_two_applications(entry, settings)
    by_group = {p: o for p in partitions if (o := consumer.committed(p)) is not None}
    committed = _trusted(by_group, _journalled(partitions, entry), settings)
    begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    fresh = ends if settings.worker.start == "latest" and not committed else begins
    for partition, offset in committed.items():
        _refuse_outside(partition, offset, (begins[partition], ends[partition]), settings)
    offsets = {partition: committed.get(partition, fresh[partition]) for partition in partitions}
    return StartOffsets(offsets, is_committed=offsets == by_group)


def _refuse_two_applications(entry: JournalEntry | None, settings: Settings) -> None:
    worker = settings.worker
    if entry is not None and entry.app != worker.transactional_id and worker.resume_from == "agreement":
        raise RefusedToStart(
            f"topic {settings.topics.journal}: the newest batch of {entry.topic} is by worker {entry.app}, this one is "
            f"{worker.transactional_id}. With different values of worker.transactional_id both would publish every "
            "list: give both the same one, and the newer worker takes over; or give this one topics of its own for "
            "lists and journal. Was the worker renamed? Then start once with --set worker.resume_from=journal"
        )


def _trusted(by_group: Offsets, by_journal: Offsets, settings: Settings) -> Offsets:
    trusted = settings.worker.resume_from
    if trusted != "agreement" and by_group != by_journal and by_group and by_journal:
        offsets = {"group": by_group, "journal": by_journal}
        shown = {name: str({p.partition: offset for p, offset in found.items()}) for name, found in offsets.items()}
        log_event(logging.WARNING, "offsets_disagree", trusted=trusted, **shown)
    if trusted == "group" or not by_journal:
        return by_group
    if trusted == "journal" or not by_group:  # a group's offsets expire when it was away for a week
        return by_journal
    for partition, offset in by_journal.items():
        if by_group.get(partition) != offset:
            raise RefusedToStart(
                f"{partition.topic}[{partition.partition}]: group {settings.worker.group_id} is at "
                f"{by_group.get(partition)}, the journal at {offset}. They are written in one transaction, so somebody "
                "has changed one of them. Choose which to trust with --set worker.resume_from=group or "
                "--set worker.resume_from=journal"
            )
    return by_group


def _journalled(partitions: list[TopicPartition], entry: JournalEntry | None) -> Offsets:
    if entry is None:
        return {}
    positions = entry.positions
    return {p: positions[p.partition] for p in partitions if p.partition in positions}


def _refuse_outside(partition: TopicPartition, offset: int, log: tuple[int, int], settings: Settings) -> None:
    begin, end = log
    if begin <= offset <= end:
        return
    lost = f"{begin - offset} records are lost" if offset < begin else "the log is shorter than what was learned"
    raise RefusedToStart(
        f"{partition.topic}[{partition.partition}]: committed offset {offset} is outside the log [{begin}, {end}]: "
        f"retention overtook the worker or the topic was made anew; {lost}. To go on, reset the offsets of group "
        f"{settings.worker.group_id} and start once with --set worker.resume_from=group"
    )
