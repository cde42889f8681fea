"""The other end: following the lists that Millstream publishes, committed ones only."""

from types import TracebackType
from typing import Literal, NamedTuple, Self

import msgspec

from stream.config.settings import KafkaSettings
from stream.log.kafka import TopicReader, newest_record
from stream.wire.formats import LIST_FORMAT, refuse_newer
from stream.wire.records import Record
from stream.wire.schema import Recommendation

__all__ = ["ListSubscription", "PublishedList", "decode_list"]

_decoder = msgspec.json.Decoder(Recommendation)


class PublishedList(NamedTuple):
    """The newest word on one user."""

    user: str
    recommendation: Recommendation | None
    """None: the user was erased; forget what you hold."""
    record: Record


def decode_list(record: Record) -> PublishedList | None:
    """Return the list in a record, or None when it is none.

    Raises:
        NewerFormat: a newer Millstream wrote it, in a format that is not known here.
    """
    refuse_newer(record, LIST_FORMAT, "list")
    user = (record.key or b"").decode(errors="replace")
    if record.value is None:
        return PublishedList(user, None, record)
    try:
        recommendation = _decoder.decode(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return PublishedList(recommendation.user, recommendation, record)


class ListSubscription:
    """Reads the lists of everybody, or of one user, as they are published.

    The newest list of a user replaces the ones before. Reading from the earliest gives everyone's list, because the
    topic is compacted and keeps the newest of each user.

    Args:
        kafka: how to reach the brokers; without it 127.0.0.1:9092.
        topic: where the lists are.
        start: begin with what is there (earliest), or with what comes from now on (latest).
        user: only the lists of this user. With `latest`, the user's newest list that is there comes first.

    Raises:
        BrokerUnreachable: no broker answered.
        RefusedToStart: the topic does not exist.
    """

    def __init__(
        self,
        kafka: KafkaSettings | None = None,
        topic: str = "recommendations",
        *,
        start: Literal["earliest", "latest"] = "latest",
        user: str | None = None,
    ) -> None:
        self.num_unreadable = 0
        """Records in the topic that are no lists; somebody else must have written them."""
        kafka = kafka or KafkaSettings()
        self._key = None if user is None else user.encode()
        self._reader = TopicReader(kafka, topic, start=start, role="subscriber")
        # Looked up after the reader stands at the end: what is published in between is seen twice rather than missed.
        newest = self._newest_list(kafka, topic) if user is not None and start == "latest" else None
        self._newest = newest
        self._pending = [] if newest is None else [newest]

    def _newest_list(self, kafka: KafkaSettings, topic: str) -> Record | None:
        return newest_record(kafka, topic, lambda record: record.key == self._key)

    def poll(self, timeout_seconds: float = 0.5) -> list[PublishedList]:
        """Return the next lists, in order per user; none when none came in time."""
        records, self._pending = self._pending, []
        if not records:
            records = [record for record in self._reader.poll(timeout_seconds) if self._is_wanted(record)]
        lists = [decode_list(record) for record in records]
        self.num_unreadable += lists.count(None)
        return [found for found in lists if found is not None]

    def caught_up(self) -> bool:
        """Return True when everything published by now was returned."""
        return not self._pending and self._reader.caught_up()

    def close(self) -> None:
        """Disconnect."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_wanted(self, record: Record) -> bool:
        if self._key is None:
            return True
        shown = self._newest
        repeated = shown is not None and record.partition == shown.partition and record.offset <= shown.offset
        return record.key == self._key and not repeated
