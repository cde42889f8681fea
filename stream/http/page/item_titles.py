"""Titles of items, read from their compacted topic once somebody looks; the page works without them."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

import msgspec

from stream.config.settings import Settings
from stream.errors import MillstreamError
from stream.log.kafka import TopicReader
from stream.logs import log_event
from stream.wire.records import Record
from stream.wire.schema import Item

__all__ = ["Titles"]

REFRESH_SECONDS = 5.0
RETRY_SECONDS = 30.0
WANTED_SECONDS = 60.0
"""After nobody has asked for this long, the topic is left alone until somebody does."""
POLL_SECONDS = 0.2
MOST_CHARS = 200


class Titles:
    """Item id to title, on a thread of its own that is not there before the first question.

    Args:
        settings: connection, topic, and how many items there may be: as many titles are kept, the oldest leaves.
        open_reader: returns a reader of the topic; made anew after an error.
    """

    def __init__(self, settings: Settings, open_reader: Callable[[], TopicReader] | None = None) -> None:
        self._open = open_reader or (lambda: TopicReader(settings.kafka, settings.topics.items, role="titles"))
        self._topic, self._capacity = settings.topics.items, settings.model.item_capacity
        self._decoder = msgspec.json.Decoder(Item)
        self._titles: dict[str, str] = {}
        self._wanted = -WANTED_SECONDS
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, items: Iterable[str]) -> dict[str, str]:
        """Return the titles that are known of these items; a new one shows within seconds of the first question."""
        self._wanted = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="millstream-titles", daemon=True)
            self._thread.start()
        return {item: title for item in items if (title := self._titles.get(item)) is not None}

    def take(self, records: Iterable[Record]) -> None:
        """Take in records of the topic; one that is no item is passed over: a title is no reason to stop."""
        for record in records:
            item = (record.key or b"").decode("utf-8", "replace")
            try:
                title = None if record.value is None else self._decoder.decode(record.value).title
            except msgspec.DecodeError:  # of a value, or of its fields
                continue
            self._titles.pop(item, None)
            if title:
                self._titles[item] = title[:MOST_CHARS]
            if len(self._titles) > self._capacity:
                self._titles.pop(next(iter(self._titles)))

    def close(self) -> None:
        """End the thread, within a poll; what it reads is not needed any more."""
        self._ending.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with self._open() as reader:
                    self._follow(reader)
            except MillstreamError as error:  # no topic, no right to read it, no brokers
                log_event(logging.WARNING, "titles_unavailable", topic=self._topic, reason=str(error))
                self._ending.wait(RETRY_SECONDS)

    def _follow(self, reader: TopicReader) -> None:
        while not self._ending.is_set():
            if time.monotonic() - self._wanted < WANTED_SECONDS:
                while not self._ending.is_set() and (records := reader.poll(POLL_SECONDS)):
                    self.take(records)
            self._ending.wait(REFRESH_SECONDS)
