"""The newest list of every user, in memory, as it was published."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec

from stream.wire.formats import LIST_FORMAT, refuse_newer
from stream.wire.records import Record
from stream.wire.schema import Recommendation

__all__ = ["ListView"]

Notify = Callable[[], None]


class ListView:
    """Key to value of the compacted topic: what a subscriber holds who read it from the beginning.

    One thread writes (`begin`, `apply`, `swap`), any thread reads. Reading from the beginning again fills a second set
    that takes the place of the first when it is whole: a user who was erased meanwhile is gone, nobody sees a half.

    Args:
        max_users: most lists held; the one that was unchanged for the longest leaves.
    """

    def __init__(self, max_users: int) -> None:
        self._max_users = max_users
        self._lock = threading.Lock()
        # Not a dict: each look at its first key passes over all that were taken out there before.
        self._lists = OrderedDict[bytes, bytes]()
        self._next: OrderedDict[bytes, bytes] | None = None
        self._watchers: dict[bytes, set[Notify]] = {}
        self._decoder = msgspec.json.Decoder(Recommendation)
        self.num_dropped = 0
        """Lists that left because there were too many."""
        self.num_unreadable = 0
        """Records that were no lists."""
        self.num_bytes = 0
        """Size of the values held, without what a dict adds."""

    def __len__(self) -> int:
        """Return how many users have a list here."""
        return len(self._lists)

    def get(self, user: str) -> bytes | None:
        """Return the value of a user's newest list, or None."""
        return self._lists.get(user.encode())

    def begin(self) -> None:
        """What is applied from now on is read from the beginning, and not shown before `swap`."""
        self._next = OrderedDict()

    def apply(self, records: Iterable[Record]) -> None:
        """Take over records, in order per user. A record without a value erases.

        Raises:
            NewerFormat: a list is of a newer format.
        """
        for record in records:
            key = record.key or b""
            refuse_newer(record, LIST_FORMAT, "list")
            if record.value is None:
                self._put(key, None)
            elif self._is_list(record.value):
                self._put(key, record.value)
            else:
                self.num_unreadable += 1

    def swap(self) -> None:
        """Show what was read since `begin`."""
        if self._next is None:
            return
        before, self._lists, self._next = self._lists, self._next, None
        self.num_bytes = sum(map(len, self._lists.values()))
        with self._lock:
            watched = [key for key in self._watchers if before.get(key) != self._lists.get(key)]
        for key in watched:
            self._notify(key)

    def watch(self, user: str, notify: Notify) -> None:
        """Call `notify`, from the writing thread, after each change of this user's list."""
        with self._lock:
            self._watchers.setdefault(user.encode(), set()).add(notify)

    def unwatch(self, user: str, notify: Notify) -> None:
        """End a `watch`."""
        key = user.encode()
        with self._lock:
            watchers = self._watchers.get(key, set())
            watchers.discard(notify)
            if not watchers:
                self._watchers.pop(key, None)

    def _is_list(self, value: bytes) -> bool:
        try:
            self._decoder.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        return True

    def _put(self, key: bytes, value: bytes | None) -> None:
        lists = self._lists if self._next is None else self._next
        before, dropped = lists.get(key), b""
        if value is None:
            lists.pop(key, None)
        else:
            lists[key] = value  # never taken out first: who looks meanwhile would find nobody
            lists.move_to_end(key)  # the first one is the longest unchanged
        if len(lists) > self._max_users:
            dropped = lists.popitem(last=False)[1]
        self.num_dropped += bool(dropped)
        if lists is self._lists:
            self.num_bytes += len(value or b"") - len(before or b"") - len(dropped)
            self._notify(key)

    def _notify(self, key: bytes) -> None:
        if self._watchers:
            with self._lock:
                watchers = list(self._watchers.get(key, ()))
            for notify in watchers:
                notify()
