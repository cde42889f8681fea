"""Several files of events, one behind the other, with sums over all of them."""

from collections.abc import Iterator, Sequence

from producers.files.event_file import EventFile
from producers.files.formats.table import BadRow
from stream.wire.schema import Event

__all__ = ["EventFiles"]

MOST_IDS = 1_000_000
"""Of so many ids it is remembered whether they came before."""


class EventFiles:
    """The events of files in the order in which they are given.

    Args:
        parts: the files; each was checked when it was made, so that nothing is read before all are
            known to fit.
    """

    def __init__(self, parts: Sequence[EventFile]) -> None:
        self.parts = parts
        self._seen: set[int] = set()
        self.num_repeated_ids = 0
        """Events so far whose `id` an earlier one had, among the first million ids."""

    def __iter__(self) -> Iterator[Event]:
        """Yield the events.

        Raises:
            ConfigError: see `EventFile`.
        """
        self._seen, self.num_repeated_ids = set(), 0
        for part in self.parts:
            for event in part:
                if event.id is not None:
                    self._count_id(event.id)
                yield event

    @property
    def num_rows(self) -> int | None:
        """Rows in all files when they say so themselves, else None."""
        known = [part.num_rows for part in self.parts]
        return None if None in known else sum(num or 0 for num in known)

    @property
    def num_read(self) -> int:
        """Rows read so far: events, bad ones and those left out."""
        return sum(part.num_read for part in self.parts)

    @property
    def num_events(self) -> int:
        """Events so far."""
        return sum(part.num_events for part in self.parts)

    @property
    def num_bad(self) -> int:
        """Rows skipped so far."""
        return sum(part.num_bad for part in self.parts)

    @property
    def num_left_out(self) -> int:
        """Rows of types that were to be left out, so far."""
        return sum(part.num_left_out for part in self.parts)

    @property
    def first_bad(self) -> BadRow | None:
        """Why the first of the skipped rows was skipped."""
        return next((part.first_bad for part in self.parts if part.first_bad is not None), None)

    def described(self) -> str:
        """Return which column serves which field, of the file that is read now."""
        reading = [part for part in self.parts if part.num_read]
        return (reading or self.parts)[-1].described()

    def _count_id(self, id: str) -> None:
        known = hash(id)
        if known in self._seen:
            self.num_repeated_ids += 1
        elif len(self._seen) < MOST_IDS:
            self._seen.add(known)
