"""Rows become ids: lists, dead letters and the journal record, ready for the transaction of a batch."""

from collections.abc import Sequence

import msgspec

from online_models import MODEL_VERSION, NO_ROW, IdIndex, TopK
from stream.config.settings import Settings
from stream.ingest.encode import TouchedUsers
from stream.versions import VERSIONS
from stream.wire.dead_letters import DeadLetter
from stream.wire.formats import DEAD_LETTER_FORMAT, JOURNAL_FORMAT, LIST_FORMAT, format_header
from stream.wire.records import Headers, OutRecord
from stream.wire.schema import ERROR_PREFIX, SOURCE_PREFIX, JournalEntry, RankedItem, Recommendation

__all__ = ["SCORE_DIGITS", "Publisher", "ranked"]

SCORE_DIGITS = 6
MAX_MESSAGE_CHARS = 500
MAX_DEAD_LETTER_BYTES = 65_536
"""Enough to see what a record was; its position finds the rest."""
OLDEST_KEPT_TIMESTAMP_MS = 86_400_000


class Publisher:
    """Writes what leaves with a batch.

    Args:
        settings: topic names, the worker's identity and its scorer.
        max_record_bytes: largest dead letter that its topic takes; none is larger than `MAX_DEAD_LETTER_BYTES`.
    """

    def __init__(self, settings: Settings, max_record_bytes: int) -> None:
        self._topics = settings.topics
        self._app = settings.worker.transactional_id
        self._model = f"{settings.model.scorer}-{MODEL_VERSION}"
        self._max_record_bytes = min(max_record_bytes, MAX_DEAD_LETTER_BYTES)
        self._version = VERSIONS["millstream"].encode()
        self._encode = msgspec.json.Encoder().encode

    def lists(self, top: TopK, touched: TouchedUsers, items: IdIndex, epoch: int, now_ms: int) -> list[OutRecord]:
        """Return one record per touched user.

        Args:
            top: lists of the users `touched.rows`, in that order.
            touched: their ids, and the time of the newest event that each list knows.
            items: the item ids.
            epoch: number of this batch.
            now_ms: when the lists were computed.
        """
        columns = (top.item_rows.tolist(), top.scores.tolist(), top.reasons.tolist(), touched.event_times_ms.tolist())
        records = []
        for position, (rows, scores, reasons, event_ms) in enumerate(zip(*columns, strict=True)):
            value = Recommendation(
                user=touched.ids[position],
                generated_at=now_ms,
                event_ts=event_ms,
                epoch=epoch,
                model=self._model,
                items=ranked(items, rows, scores, reasons),
            )
            headers = [*format_header(LIST_FORMAT), *self._source_headers(touched, position)]
            key = touched.ids[position].encode("utf-8")
            records.append(OutRecord(self._topics.recommendations, key, self._encode(value), headers))
        return records

    def _source_headers(self, touched: TouchedUsers, position: int) -> Headers:
        record = touched.records[position]
        source = {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp_ms}
        return [(SOURCE_PREFIX + name, str(value).encode()) for name, value in source.items()]

    def dead_letters(self, dead_letters: Sequence[DeadLetter], now_ms: int) -> list[OutRecord]:
        """Return one record per dead letter: the original key, value, headers and timestamp, and why.

        A timestamp that is more than a day old becomes that of writing; the headers hold the original one. A value that
        is too long is cut, and `millstream.error.truncated_from_bytes` says so; the position in the headers
        finds the whole of it. Letters without a key keep their order: those of one partition go to one partition.
        """
        return [self._dead_letter(letter, now_ms) for letter in dead_letters]

    def _dead_letter(self, letter: DeadLetter, now_ms: int) -> OutRecord:
        record = letter.record
        facts = {
            "code": letter.code.value,
            "message": letter.message[:MAX_MESSAGE_CHARS],
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "timestamp": str(record.timestamp_ms),
            "app": self._app,
            "version": self._version.decode(),
            "format": str(DEAD_LETTER_FORMAT),
        }
        value, key = record.value, record.key
        headers: Headers = [(name, header or b"") for name, header in record.headers]  # the client writes no null ones
        room = self._max_record_bytes - len(key or b"") - sum(len(n) * 4 + len(v or b"") for n, v in headers)
        if room < 0:  # a record whose key or headers alone are too large: its position says where the whole is
            key, headers, room = (key or b"")[:1024], [], self._max_record_bytes - 1024
            facts["truncated_from_bytes"] = str(len(value or b""))
        if value is not None and len(value) > room:
            facts["truncated_from_bytes"] = str(len(value))
            value = value[:room]
        if key is None and value is None:
            key = b""  # the client writes no record without either
        ours: Headers = [(ERROR_PREFIX + name, text.encode("utf-8")) for name, text in facts.items()]
        # Retention goes by the timestamp: with an old one the dead letter could be gone before anybody sees it.
        is_recent = 0 <= now_ms - record.timestamp_ms < OLDEST_KEPT_TIMESTAMP_MS
        timestamp_ms = record.timestamp_ms if is_recent else None
        return OutRecord(self._topics.dead_letters, key, value, headers + ours, timestamp_ms, record.partition)

    def journal(self, entry: JournalEntry) -> OutRecord:
        """Return the journal record of a batch."""
        return OutRecord(
            self._topics.journal, entry.app.encode("utf-8"), self._encode(entry), format_header(JOURNAL_FORMAT)
        )


def ranked(items: IdIndex, rows: list[int], scores: list[float], reasons: list[int]) -> list[RankedItem]:
    """Return one list as it is published, from the rows, scores and reasons of its places."""
    return [
        RankedItem(
            item=items.id_of(row),
            score=round(score, SCORE_DIGITS),
            reason=None if reason == NO_ROW else items.id_of(reason),
        )
        for row, score, reason in zip(rows, scores, reasons, strict=True)
        if row != NO_ROW
    ]
