"""Values that are no events, one for each way in which real producers get it wrong, to try the dead letters with."""

from collections.abc import Callable

import msgspec
import numpy as np

__all__ = ["WAYS_TO_BREAK", "break_value"]


def _with(value: bytes, **fields: object) -> bytes:
    changed = msgspec.json.decode(value, type=dict[str, object]) | fields
    return msgspec.json.encode(changed)


WAYS_TO_BREAK: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda value: value[: len(value) // 2],
    "not json": lambda value: b"user=" + value,
    "empty": lambda value: b"",
    "no item": lambda value: _with(value, item=None),
    "empty user": lambda value: _with(value, user=""),
    "number for an id": lambda value: _with(value, item=85123),
    "unknown type": lambda value: _with(value, type="clicked"),
    "time as text": lambda value: _with(value, ts="yesterday"),
    "time in microseconds": lambda value: _with(value, ts=_ts(value) * 1000),
    "endless id": lambda value: _with(value, user="u" * 2000),
    "nan": lambda value: value[:-1] + b',"value":NaN}',
}
"""Name to what is done to the JSON of a good event. The worker's answer to each is a dead letter."""


def break_value(value: bytes, rng: np.random.Generator) -> bytes:
    """Return the JSON of a good event, broken in one of the ways."""
    names = list(WAYS_TO_BREAK)
    return WAYS_TO_BREAK[names[int(rng.integers(len(names)))]](value)


def _ts(value: bytes) -> int:
    return int(msgspec.json.decode(value)["ts"])
