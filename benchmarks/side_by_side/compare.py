"""What two runs left, compared bit for bit."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

import msgspec

from benchmarks.side_by_side.runs import Findings

__all__ = ["Row", "compare", "differing_fields"]

NOT_COMPARED_HEADER = "millstream.error.version"
"""Header of a dead letter that tells the version of the package, not what was computed."""

_Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of output of the two runs."""

    what: str
    counts: tuple[int, int]
    hashes: tuple[str, str]
    """Of all of it in order, without what is allowed to differ: equal if and only if all of it is equal."""
    difference: str = ""
    """Where the first one that is not equal stands, and what of it differs."""

    @property
    def is_equal(self) -> bool:
        return self.hashes[0] == self.hashes[1] and not self.difference


def compare(before: Findings, after: Findings, but: Collection[str] = ()) -> list[Row]:
    """Return a row for each kind of output: lists, dead letters, journal, state.

    Args:
        before: of the one run.
        after: of the other.
        but: fields of the journal and headers of dead letters that may differ, or be missing on one side.
    """
    letters = [[(*one[:2], _kept_headers(one[2], but)) for one in side.dead_letters] for side in (before, after)]
    journals = [[_without(value, but) for value in side.journal] for side in (before, after)]
    rows = [
        _row("lists", before.lists, after.lists, _told_list),
        _row("dead letters", letters[0], letters[1], _told_letter),
        _row("journal", journals[0], journals[1], _told_entry),
        _row("state", list(before.digests.items()), list(after.digests.items()), _told_state),
    ]
    return [*rows, *_recovery_rows(before, after)]


def differing_fields(before: bytes, after: bytes) -> list[str]:
    """Return the names of the fields at the top of two JSON objects that differ or are in one of them only."""
    one, other = msgspec.json.decode(before), msgspec.json.decode(after)
    missing = object()
    return [name for name in one | other if one.get(name, missing) != other.get(name, missing)]


def _row(what: str, before: Sequence[Any], after: Sequence[Any], told: Callable[[Any, Any], str]) -> Row:
    difference = ""
    for number, (one, other) in enumerate(zip_longest(before, after)):
        if one != other:
            is_missing = one is None or other is None
            difference = f"{number + 1}: " + ("only on one side" if is_missing else told(one, other))
            break
    return Row(what, (len(before), len(after)), (_hash(before), _hash(after)), difference)


def _recovery_rows(before: Findings, after: Findings) -> list[Row]:
    """Return a row for what a restart changed, in either run; it must change nothing."""
    sides = {"before": before.digests, "after": after.digests}
    wrong = [side for side, digests in sides.items() if digests.get("when killed") != digests.get("recovered")]
    if not wrong:
        return []
    hashes = tuple(_hash([digests.get("recovered")]) for digests in sides.values())
    return [
        Row("recovery", (1, 1), (hashes[0], hashes[1]), f"the state after the restart is another: {', '.join(wrong)}")
    ]


def _without(value: bytes, but: Collection[str]) -> bytes:
    if not but:
        return value
    fields = msgspec.json.decode(value)
    return msgspec.json.encode({name: field for name, field in fields.items() if name not in but})


def _kept_headers(headers: _Headers, but: Collection[str]) -> _Headers:
    return [header for header in headers if header[0] != NOT_COMPARED_HEADER and header[0] not in but]


def _hash(values: Sequence[Any]) -> str:
    return blake2b(msgspec.msgpack.encode(values), digest_size=5).hexdigest()


def _told_list(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> str:
    if one[0] != other[0]:
        return f"keys {one[0]!r} and {other[0]!r}"
    return f"of {one[0]!r}: {_fields(one[1], other[1])}"


def _told_letter(one: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    pairs = zip(("key", "value", "headers"), one, other, strict=True)
    names = [name for name, mine, theirs in pairs if mine != theirs]
    if names != ["headers"]:
        return ", ".join(names)
    ours, theirs = dict(one[2]), dict(other[2])
    headers = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    return f"headers {', '.join(headers) or 'in another order'}"


def _told_entry(one: bytes, other: bytes) -> str:
    return _fields(one, other)


def _told_state(one: tuple[str, str], other: tuple[str, str]) -> str:
    return one[0] if one[0] == other[0] else f"{one[0]} and {other[0]}"


def _fields(one: bytes, other: bytes) -> str:
    return ", ".join(differing_fields(one, other)) or "the same fields in another order or form"
