"""The journal: what each committed micro-batch was. Here its records are read; `stream/publish.py` writes them."""

from collections.abc import Iterator

from stream.durability.divergence import Difference
from stream.errors import RefusedToStart
from stream.log.protocols import History
from stream.wire.fingerprint import chained
from stream.wire.schema import JournalEntry

__all__ = ["UNKNOWN_CHAIN", "JournalBroken", "journalled"]

UNKNOWN_CHAIN = ""
"""The chain before an entry whose predecessor is no longer in the journal."""


class JournalBroken(RefusedToStart):
    """An entry of the journal is missing, or is not the one that followed.

    Args:
        topic: the journal's.
        difference: which entry, and what is there instead.
        found: the entry that is there instead; None: there is no further one.
        is_gap: an entry is missing.
    """

    def __init__(self, topic: str, difference: Difference, found: JournalEntry | None, *, is_gap: bool) -> None:
        super().__init__(f"topic {topic}: {difference}")
        self.difference, self.found, self.is_gap = difference, found, is_gap


def journalled(history: History, epoch: int, chain: str, last: int, topic: str = "journal") -> Iterator[JournalEntry]:
    """Yield the entries after `epoch` up to `last`, each checked to be the next link after `chain`.

    Raises:
        JournalBroken: one is not.
    """
    entries = history.entries(epoch + 1)
    while epoch < last:
        entry = next(entries, None)
        if entry is None or entry.epoch != epoch + 1:
            there = f"epoch {entry.epoch}" if entry else "none after it"
            gap = Difference(epoch + 1, "the journal's entry", f"epoch {epoch + 1}", there)
            raise JournalBroken(topic, gap, entry, is_gap=True)
        if chain != UNKNOWN_CHAIN and (link := chained(chain, entry)) != entry.chain:
            what = "the journal's entry does not follow from the one before: the chain"
            raise JournalBroken(topic, Difference(entry.epoch, what, link, entry.chain), entry, is_gap=False)
        epoch, chain = entry.epoch, entry.chain
        yield entry
