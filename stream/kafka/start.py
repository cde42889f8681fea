"""Where a worker begins to read: at the committed offsets, once group and journal agree on them."""

from typing import Any

import msgspec
from kafka import TopicPartition

from stream.errors import RefusedToStart
from stream.records import Record
from stream.schema import JournalEntry
from stream.settings import Settings

__all__ = ["start_offsets"]


def start_offsets(
    consumer: Any, partitions: list[TopicPartition], journal: Record | None, settings: Settings
) -> dict[TopicPartition, int]:
    """Return the offset to start at for every partition.

    A partition without a committed offset begins as `worker.start` says on the first start of the group, and at its
    beginning afterwards, because it was added meanwhile.

    Raises:
        RefusedToStart: group and journal disagree, or an offset lies outside the log.
    """
    committed = _committed(consumer, partitions, journal, settings)
    begins = consumer.beginning_offsets(partitions)
    ends = consumer.end_offsets(partitions)
    fresh = ends if settings.worker.start == "latest" and not committed else begins
    for partition, offset in committed.items():
        if not begins[partition] <= offset <= ends[partition]:
            raise RefusedToStart(
                f"{partition.topic}[{partition.partition}]: committed offset {offset} is outside the log "
                f"[{begins[partition]}, {ends[partition]}]: retention overtook the worker or the topic was made anew. "
                f"{_lost(offset, begins[partition])} To go on, reset the offsets of group {settings.worker.group_id}"
            )
    return {partition: committed.get(partition, fresh[partition]) for partition in partitions}


def _lost(offset: int, begin: int) -> str:
    return f"{begin - offset} records are lost." if offset < begin else "The log is shorter than what was learned."


def _committed(
    consumer: Any, partitions: list[TopicPartition], journal: Record | None, settings: Settings
) -> dict[TopicPartition, int]:
    by_group = {p: o for p in partitions if (o := consumer.committed(p)) is not None}
    by_journal = _journalled(partitions, journal)
    trusted = settings.worker.resume_from
    if trusted == "group" or journal is None:
        return by_group
    if trusted == "journal" or not by_group:  # a group's offsets expire when it was away for a week
        return by_journal
    for partition in partitions:
        if by_group.get(partition) != by_journal.get(partition):
            raise RefusedToStart(
                f"{partition.topic}[{partition.partition}]: group {settings.worker.group_id} is at "
                f"{by_group.get(partition)}, the journal at {by_journal.get(partition)}. They are written in one "
                "transaction, so somebody has changed one of them. Choose which to trust with "
                "--set worker.resume_from=group or --set worker.resume_from=journal"
            )
    return by_group


def _journalled(partitions: list[TopicPartition], journal: Record | None) -> dict[TopicPartition, int]:
    if journal is None or journal.value is None:
        return {}
    entry = msgspec.json.decode(journal.value, type=JournalEntry)
    positions = {int(number): offset for number, offset in entry.positions.items()}
    return {p: positions[p.partition] for p in partitions if p.partition in positions and entry.topic == p.topic}
