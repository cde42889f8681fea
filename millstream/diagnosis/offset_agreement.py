"""Do the group's offsets, the journal and the log agree? What a worker would find at its start, asked without one."""

from collections.abc import Mapping

from millstream.diagnosis.findings import Finding, error, ok, warning
from stream.config.settings import Settings
from stream.log.kafka import newest_record
from stream.log.kafka.group_lag import PartitionStanding, standings
from stream.log.kafka.held_back import held_back
from stream.wire.journal_record import ForeignRecords
from stream.wire.schema import JournalEntry

__all__ = ["agreement", "held_back_findings", "newest_entry", "newest_entry_and_standings"]

ATTEMPTS = 5
ABOUT = "offsets"


def newest_entry(settings: Settings) -> JournalEntry | None:
    """Return the newest journal entry for the events topic, or None.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the journal topic does not exist, or holds something else.
    """
    journal = ForeignRecords(settings.topics.events)
    record = newest_record(settings.kafka, settings.topics.journal, lambda found: journal.entry(found) is not None)
    return None if record is None else journal.entry(record)


def newest_entry_and_standings(settings: Settings) -> tuple[JournalEntry | None, dict[int, PartitionStanding]]:
    """Return both as of one moment: a worker that commits between the two questions has them asked again.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: a topic does not exist, or holds something else.
    """
    entry = newest_entry(settings)
    for _ in range(ATTEMPTS):
        found = standings(settings)
        if not _disagreeing(entry, found):
            break
        newer = newest_entry(settings)
        if newer == entry:
            break
        entry = newer
    return entry, found


def agreement(entry: JournalEntry | None, found: Mapping[int, PartitionStanding], settings: Settings) -> list[Finding]:
    """Return what of group, journal and log would keep a worker from starting.

    Args:
        entry: the newest of the journal, if any.
        found: the group's standing in each partition.
        settings: of the worker.
    """
    group = settings.worker.group_id
    problems = [
        error(
            ABOUT,
            f"{settings.topics.events}[{partition}]: group {group} is at {standing.committed}, outside the log "
            f"[{standing.begin}, {standing.end}]: retention overtook the worker, or the topic was made anew",
            'see "When it refuses to start" in docs/operating.md',
        )
        for partition, standing in found.items()
        if standing.committed is not None and not standing.begin <= standing.committed <= standing.end
    ]
    if entry is not None and entry.app != settings.worker.transactional_id:
        problems.append(
            error(
                ABOUT,
                f"the newest batch is by worker {entry.app}, the settings say {settings.worker.transactional_id}",
                "run one worker: give this command and the worker the same worker.transactional_id",
            )
        )
    for partition in _disagreeing(entry, found):
        assert entry is not None
        problems.append(
            error(
                ABOUT,
                f"{settings.topics.events}[{partition}]: group {group} is at {found[partition].committed}, the journal "
                f"at {entry.positions[partition]}: somebody has changed one of them",
                "choose which to trust: start once with --set worker.resume_from=group or =journal",
            )
        )
    return problems or [ok(ABOUT, f"group {group}, journal and log agree" if entry else "no batch was committed yet")]


def held_back_findings(settings: Settings) -> list[Finding]:
    """Return what upstream transactions that do not end keep from the worker, if anything.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the topic does not exist.
    """
    found = held_back(settings)
    if not found:
        return []
    where = ", ".join(f"[{partition}]" for partition in found)
    message = (
        f"{settings.topics.events}{where}: {sum(found.values()):,} records wait behind a transaction of a producer "
        "that does not end; no lag shows them, and nobody can read them before it does"
    )
    fix = "kafka-transactions.sh find-hanging, then abort; see MillstreamUpstreamHeldBack in docs/runbook.md"
    return [warning("upstream", message, fix)]


def _disagreeing(entry: JournalEntry | None, found: Mapping[int, PartitionStanding]) -> list[int]:
    """Return the partitions that a start would refuse: both know an offset, and not the same."""
    if entry is None or all(standing.committed is None for standing in found.values()):
        return []
    positions = entry.positions
    return [p for p, standing in found.items() if p in positions and positions[p] != standing.committed]
