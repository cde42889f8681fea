"""The events of a run: good, repeated, late, bad, and too far in the future."""

import json
import random
from typing import Any, NamedTuple

from benchmarks.chaos.plan import Plan

__all__ = ["SourceEvent", "draw_events"]

TYPES = ("view", "click", "cart", "purchase", "like", "dislike", "rating", "impression")
FUTURE_LIMIT_MS = 3_600_000
LATEST_MS = 86_400_000


class SourceEvent(NamedTuple):
    """One record to be produced."""

    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


def draw_events(plan: Plan, now_ms: int) -> list[SourceEvent]:
    """Return the records of a plan in the order in which they are produced.

    Args:
        plan: how many and of what kind.
        now_ms: when the run begins; nothing but the times of the events depends on it.
    """
    rng = random.Random(f"events/{plan.seed}")
    homes = [0 if rng.random() < plan.skew_ratio else rng.randrange(plan.num_partitions) for _ in range(plan.num_users)]
    events: list[SourceEvent] = []
    for number in range(plan.num_events):
        stamp_ms = now_ms - (plan.num_events - number) * 1_000
        if events and rng.random() < plan.repeated_ratio:
            events.append(rng.choice(events[-100:]))
            continue
        # Half of the events are of users and items that come in turn, so that old ones are evicted; half of favourites.
        user = number % plan.num_users if rng.random() < 0.5 else int(plan.num_users * rng.random() ** 3)
        item = number % plan.num_items if rng.random() < 0.5 else int(plan.num_items * rng.random() ** 3)
        key = f"u{user}".encode()
        if rng.random() < plan.bad_ratio:
            events.append(_bad(rng, homes[user], key, stamp_ms))
            continue
        value = {"user": f"u{user}", "item": f"i{item}", "type": rng.choice(TYPES)}
        events.append(SourceEvent(homes[user], key, _good(rng, plan, value, number, (stamp_ms, now_ms)), stamp_ms))
    return events


def _good(rng: random.Random, plan: Plan, fields: dict[str, Any], number: int, times_ms: tuple[int, int]) -> bytes:
    stamp_ms, now_ms = times_ms
    if rng.random() < plan.future_ratio:
        fields["ts"] = now_ms + FUTURE_LIMIT_MS + rng.randrange(-1_000, 6_000)
    elif rng.random() < plan.late_ratio:
        fields["ts"] = stamp_ms - rng.randrange(LATEST_MS)
    elif rng.random() < 0.8:
        fields["ts"] = stamp_ms
    if rng.random() < 0.8:
        fields["id"] = f"e{number}"
    return json.dumps(fields).encode()


def _bad(rng: random.Random, partition: int, key: bytes, stamp_ms: int) -> SourceEvent:
    value = rng.choice(
        (
            b"not JSON",
            b"\xff\xfe",
            b'{"item": "i1", "type": "click"}',
            b'{"user": "u1", "item": 7, "type": "click"}',
            b'{"user": "u1", "item": "i1", "type": "wink"}',
            b'{"user": "u1", "item": "i1", "type": "click", "ts": -5}',
            b'{"user": "u1", "item": "i1", "type": "click", "value": 1e999}',
            None,
        )
    )
    return SourceEvent(partition, None if value and rng.random() < 0.3 else key, value, stamp_ms)
