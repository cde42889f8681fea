"""The published lists that are still in their topic, compared with those that were made again."""

from hashlib import blake2b
from itertools import zip_longest
from typing import NamedTuple

import msgspec

from stream.durability.divergence import Difference
from stream.durability.verification.report import Parted
from stream.log.protocols import Published
from stream.wire.records import OutRecord, Record
from stream.wire.schema import Recommendation

__all__ = ["Lists"]

SHOWN_CHARS = 300


class _Found(NamedTuple):
    """A list in the topic."""

    digest: bytes
    partition: int
    offset: int


class _Epoch(msgspec.Struct):
    epoch: int


class Lists:
    """The lists that are still in their topic, as hashes.

    Args:
        published: where they are read from, all of them now and one again when it is shown.
        topic: how messages call it.
        last: lists of later epochs are of a worker that goes on.

    Raises:
        Parted: a record is no list.
    """

    def __init__(self, published: Published, topic: str, last: int) -> None:
        self._published, self._topic, self._last = published, topic, last
        self._found: dict[int, dict[bytes, list[_Found]]] = {}
        self._newest: dict[bytes, int] = {}
        self._erased: set[bytes] = set()
        self.out_of_order: Difference | None = None
        """A list after a newer one of its user, whom it takes back."""
        self.num_compared = 0
        self._made: dict[bytes, int] = {}
        for record in published.lists():
            self._take(record)

    @property
    def num_erased(self) -> int:
        """Users whose newest record says that they are erased."""
        return len(self._erased)

    def _take(self, record: Record) -> None:
        key = record.key or b""
        if record.value is None:
            self._erased.add(key)
            return
        try:
            epoch = msgspec.json.decode(record.value, type=_Epoch).epoch
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"the record {self._topic}[{record.partition}]@{record.offset}"
            raise Parted(Difference(self._last, what, "a list", f"something else ({error})")) from None
        self._erased.discard(key)
        found = _Found(_hashed(record.value), record.partition, record.offset)
        # Of later epochs only the number counts; of these lists, nothing but whether there is one.
        if epoch <= self._last:
            self._found.setdefault(epoch, {}).setdefault(key, []).append(found)
        if epoch < self._newest.get(key, 0) and epoch <= self._last and self.out_of_order is None:
            newer = f"none after that of epoch {self._newest[key]}"
            self.out_of_order = Difference(epoch, self._called(key, found), newer, "one of an older epoch")
        self._newest[key] = max(epoch, self._newest.get(key, 0))

    def begin(self) -> None:
        """Forget what was compared so far."""
        self.num_compared = 0
        self._made = {}

    def compare(self, epoch: int, made: list[OutRecord]) -> None:
        """Compare the lists of a batch, made again, with those that are still there.

        Raises:
            Parted: one was changed, is there twice, or was never made.
        """
        there = self._found.get(epoch, {})
        expected: dict[bytes, list[bytes]] = {}
        for record in made:  # of a user in two partitions there are two, the newer one last
            expected.setdefault(record.key or b"", []).append(record.value or b"")
        for key, found in there.items():
            if key not in expected:
                raise Parted(Difference(epoch, self._called(key, found[0]), "no list of him in this batch", "one"))
            if len(found) > len(expected[key]):
                where = " and ".join(f"[{one.partition}]@{one.offset}" for one in found)
                times = "it once" if len(expected[key]) == 1 else f"it {len(expected[key])} times"
                raise Parted(Difference(epoch, f"list of user {_text(key)} in {self._topic}", times, where))
            for one, value in zip(reversed(found), reversed(expected[key]), strict=False):  # compaction takes the older
                if one.digest != _hashed(value):
                    apart = _told_apart(value, self._value(one))
                    raise Parted(Difference(epoch, self._called(key, one), *apart))
        self.num_compared += sum(map(len, there.values()))
        self._made.update(dict.fromkeys(expected, epoch))

    def missing(self) -> Difference | None:
        """Return the earliest list that is its user's newest and is not there; only after all were compared."""
        gone = [
            (epoch, key)
            for key, epoch in self._made.items()
            if self._newest.get(key, 0) < epoch and key not in self._erased
        ]
        if not gone:
            return None
        epoch, key = min(gone)
        there = f"none newer than that of epoch {self._newest[key]}" if key in self._newest else "none of him"
        what = f"list of user {_text(key)} in {self._topic}" + (f" (and {len(gone) - 1} more)" if len(gone) > 1 else "")
        return Difference(epoch, what, "his newest list", there)

    def beyond(self, newest: int) -> Difference | None:
        """Return a list of an epoch after the newest of the journal."""
        late = [(epoch, key) for key, epoch in self._newest.items() if epoch > newest]
        if not late:
            return None
        epoch, key = min(late)
        what = f"list of user {_text(key)} in {self._topic}"
        return Difference(epoch, what, f"none, as the journal ends at epoch {newest}", "one")

    def _called(self, key: bytes, found: _Found) -> str:
        return f"list of user {_text(key)} in {self._topic}[{found.partition}]@{found.offset}"

    def _value(self, found: _Found) -> bytes:
        for record in self._published.lists():
            if (record.partition, record.offset) == (found.partition, found.offset):
                return record.value or b""
        return b""


def _hashed(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).digest()


def _text(key: bytes) -> str:
    return repr(key.decode("utf-8", "replace"))


def _told_apart(expected: bytes, found: bytes) -> tuple[str, str]:
    """Return what is different in two lists."""
    try:
        ours, theirs = (msgspec.json.decode(value, type=Recommendation) for value in (expected, found))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _cut(expected), _cut(found)
    for place, pair in enumerate(zip_longest(ours.items, theirs.items), 1):
        if pair[0] != pair[1]:
            ours_there, theirs_there = (msgspec.json.encode(item).decode() if item else "nothing" for item in pair)
            return f"at place {place} {ours_there}", theirs_there
    for name in ("user", "generated_at", "event_ts", "epoch", "model"):
        if getattr(ours, name) != getattr(theirs, name):
            return f"{name} {getattr(ours, name)}", str(getattr(theirs, name))
    return _cut(expected), _cut(found)


def _cut(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
