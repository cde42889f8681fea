"""Learning journalled batches again, and seeing whether each is what it was: the one loop of all who do.

Recovery, point-in-time and verification differ in where they begin, in what they read for a batch and in what they do
about a difference.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stream.durability.divergence import Difference
from stream.ingest.decode import DECODE_VERSION
from stream.learning.worker_state import WorkerState
from stream.publish import Publisher
from stream.wire.fingerprint import hex_digits, lists_hash
from stream.wire.records import OutRecord, Record
from stream.wire.schema import JournalEntry

__all__ = ["Relearned", "relearn", "replay"]


@dataclass(frozen=True, slots=True)
class Relearned:
    """A batch that was learned again."""

    entry: JournalEntry
    records: list[Record] | None
    """None: they are gone, and nothing was learned."""
    difference: Difference | None = None
    """What is not what the journal says; of other records nothing was learned."""
    lists: list[OutRecord] | None = None
    """None: they were not made."""


def replay(
    entries: Iterable[JournalEntry],
    read: Callable[[JournalEntry], list[Record] | None],
    state: Callable[[JournalEntry], WorkerState],
    publisher: Callable[[JournalEntry], Publisher | None] = lambda _: None,
) -> Iterator[Relearned]:
    """Learn journalled batches again, one after the other.

    Args:
        entries: of the batches, in order.
        read: returns the records of a batch; None to pass it over.
        state: returns what learns a batch; asked before its records are read.
        publisher: returns who makes the lists of a batch, which are then compared; None: nobody, which spares time.
    """
    for entry in entries:
        learner = state(entry)
        records = read(entry)
        if records is None:
            yield Relearned(entry, None)
            continue
        by = publisher(entry)
        difference, lists = relearn(learner, entry, records, by)
        yield Relearned(entry, records, difference, lists if by is not None else None)


def relearn(
    state: WorkerState, entry: JournalEntry, records: list[Record], publisher: Publisher | None
) -> tuple[Difference | None, list[OutRecord]]:
    """Learn a journalled batch again.

    Args:
        publisher: ranks the lists again and compares them; None: spares that time.

    Returns:
        What is different from what the journal says, if anything; and the lists. Of other records nothing is learned.
    """
    decisions = entry.decisions
    decoded = state.decode(records, decisions)
    if (found := hex_digits(decoded.records_hash)) != entry.records_hash:
        what = f"its {len(records)} records are not those that were learned"
        return Difference(entry.epoch, what, entry.records_hash, found, are_other_records=True), []
    encoded = state.encode(decoded, decisions)
    state.learn(decoded, encoded)
    if entry.decode_version != DECODE_VERSION:
        what = "the version of how a record becomes an event"
        return Difference(entry.epoch, what, str(entry.decode_version), str(DECODE_VERSION)), []
    if state.applied_hash != entry.applied_hash:
        return Difference(entry.epoch, "other events were learned", entry.applied_hash, state.applied_hash), []
    if publisher is None:
        return None, []
    top, touched = state.rank(encoded)
    lists = publisher.lists(top, touched, state.encoder.items, entry.epoch, decisions.generated_at_ms)
    if (found := lists_hash(lists)) != entry.lists_hash:
        return Difference(entry.epoch, "the model makes other lists", entry.lists_hash, found), lists
    return None, lists
