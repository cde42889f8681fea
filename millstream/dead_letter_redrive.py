"""Dead letters for the commands: found in their topic, judged, and sent again."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from stream.config.settings import Settings
from stream.ingest.decode import Decoder
from stream.log.kafka import TopicReader, record_at
from stream.log.kafka.redrive import ReplayTransactions
from stream.wire.dead_letters import LetterId, StoredDeadLetter, read_letter, read_receipt, receipt, replayed
from stream.wire.decisions import Decisions
from stream.wire.records import OutRecord, Record

__all__ = ["ANOTHER_TOPIC", "DONE", "PART_ONLY", "READY", "UNREADABLE", "Choice", "Letters", "Survey", "send_again"]

READY = "can be sent again"
DONE = "was sent again before"
PART_ONLY = "only a part of it was kept, and the whole is no longer in the log"
ANOTHER_TOPIC = "came from another topic"
UNREADABLE = "would be a dead letter again: "
"""What begins the verdict; the code that it would have now follows."""

POLL_SECONDS = 1.0
MAX_TRANSACTION_RECORDS = 500
MAX_TRANSACTION_BYTES = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters are meant; what is empty or None leaves nothing out."""

    codes: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    ids: frozenset[LetterId] = frozenset()
    since_ms: int | None = None

    def takes(self, letter: StoredDeadLetter) -> bool:
        """Return whether this letter is meant."""
        return (
            (not self.codes or letter.code in self.codes)
            and (not self.partitions or letter.place[0] in self.partitions)
            and (not self.ids or letter.place in self.ids)
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
        )


@dataclass(slots=True)
class Letters:
    """Reads the dead-letter topic once from the choice's beginning to its end of now.

    Args:
        settings: connection and topic names.
        choice: which letters are meant.
    """

    settings: Settings
    choice: Choice
    done: set[LetterId] = field(default_factory=set)
    """Letters that a receipt was read for, so far."""
    num_foreign: int = 0
    """Records that are neither letter nor receipt."""

    def __iter__(self) -> Iterator[StoredDeadLetter]:
        with TopicReader(self.settings.kafka, self.settings.topics.dead_letters, role="letters") as reader:
            if self.choice.since_ms is not None:
                reader.seek_to_time(self.choice.since_ms)
            while not reader.caught_up():
                for record in reader.poll(POLL_SECONDS):
                    letter = self._read(record)
                    if letter is not None and self.choice.takes(letter):
                        yield letter

    def _read(self, record: Record) -> StoredDeadLetter | None:
        letter = read_letter(record)
        if letter is None:
            place = read_receipt(record)
            if place is None:
                self.num_foreign += 1
            else:
                self.done.add(place)
        return letter


@dataclass(slots=True)
class Survey:
    """What becomes of each letter that is meant, judged before anything is sent."""

    verdicts: dict[LetterId, str]
    codes: Counter[tuple[str, str]]
    """(verdict, code) to how many."""

    @classmethod
    def of(cls, letters: Letters, *, even_unreadable: bool, now_ms: int | None = None) -> "Survey":
        """Read the topic and judge.

        Args:
            letters: those that are meant.
            even_unreadable: also what would be a dead letter again with these settings.
            now_ms: the clock for event times; None: that of this machine.
        """
        settings = letters.settings
        judge = partial(
            _verdict,
            settings=settings,
            decoder=None if even_unreadable else Decoder(settings.events),
            now_ms=time.time_ns() // 1_000_000 if now_ms is None else now_ms,
        )
        found = {letter.place: (judge(letter), letter.code) for letter in letters}
        # A receipt comes after its letter, so only now are all known.
        told = {place: (DONE if place in letters.done else verdict, code) for place, (verdict, code) in found.items()}
        return cls({place: verdict for place, (verdict, _) in told.items()}, Counter(told.values()))

    @property
    def num_ready(self) -> int:
        """How many would be sent."""
        return sum(verdict == READY for verdict in self.verdicts.values())


def send_again(letters: Letters, survey: Survey, transactions: ReplayTransactions, said: Callable[[int], None]) -> int:
    """Send what the survey found ready, a few hundred letters a transaction; return how many.

    Args:
        letters: the same as in the survey, not read yet.
        survey: made after `transactions` was opened, so that no other replay can have sent the same since.
        transactions: where to.
        said: told after each commit how many are sent.

    Raises:
        MillstreamError: see `ReplayTransactions.commit`. What was committed before stays sent and has its receipts.
    """
    settings, num_sent, batch = letters.settings, 0, _Batch()
    num_partitions = transactions.num_partitions(settings.topics.events)
    for letter in letters:
        if survey.verdicts.get(letter.place) != READY:
            continue
        whole = _whole(letter, settings)
        if whole is None:  # the log has lost it since the survey
            continue
        topic = settings.topics.dead_letters
        batch.add(replayed(whole, topic, num_partitions), receipt(whole, topic))
        if batch.is_full():
            num_sent += batch.send(transactions)
            said(num_sent)
    if batch.records:
        num_sent += batch.send(transactions)
        said(num_sent)
    return num_sent


@dataclass(slots=True)
class _Batch:
    records: list[OutRecord] = field(default_factory=list)
    num_bytes: int = 0

    def add(self, event: OutRecord, done: OutRecord) -> None:
        self.records += [event, done]
        self.num_bytes += len(event.value or b"")

    def is_full(self) -> bool:
        return len(self.records) >= 2 * MAX_TRANSACTION_RECORDS or self.num_bytes >= MAX_TRANSACTION_BYTES

    def send(self, transactions: ReplayTransactions) -> int:
        transactions.commit(self.records)
        num_letters = len(self.records) // 2
        self.records, self.num_bytes = [], 0
        return num_letters


def _verdict(letter: StoredDeadLetter, *, settings: Settings, decoder: Decoder | None, now_ms: int) -> str:
    if letter.event.topic != settings.topics.events:
        return ANOTHER_TOPIC
    whole = _whole(letter, settings)
    if whole is None:
        return PART_ONLY
    now = Decisions(decoded_at_ms=now_ms)
    again = decoder.decode([whole.event], now).dead_letters if decoder is not None else []
    return f"{UNREADABLE}{again[0].code}" if again else READY


def _whole(letter: StoredDeadLetter, settings: Settings) -> StoredDeadLetter | None:
    """Return the letter with all of its record, from the events topic if it holds only a part; None: that is gone."""
    if letter.truncated_from_bytes is None:
        return letter
    record = record_at(settings.kafka, letter.event.topic, letter.event.partition, letter.event.offset)
    return None if record is None else letter.of(record)
