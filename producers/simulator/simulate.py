"""A stream of events from a made-up shop, with the troubles of a real one when asked for: bursts, repetitions, late
and broken events. The same configuration gives the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from producers.event_encoding import OutgoingRecord, encode_event, event_key
from producers.simulator.malformed import break_value
from producers.simulator.shop import Shop, ShopConfig
from stream.errors import ConfigError
from stream.wire.schema import Event

__all__ = ["SimulationConfig", "simulated_records"]

FIXED_START_MS = 1_767_225_600_000
"""1 January 2026, so that a simulation to a file does not depend on the day it was made."""
OPEN_SESSIONS = 20
"""Visitors that are in the shop at the same time; their events are interleaved."""
MEAN_SESSION_EVENTS = 6
LATEST_SECONDS = 600.0
MOST_WAITING = 100
"""Events waiting to be sent a second time."""
CLICKS_TO = (("click", 0.62), ("view", 0.80), ("cart", 0.92), ("like", 0.95), ("dislike", 0.97), ("purchase", 1.0))
"""Type after a click or at the start of a session, with cumulative shares."""
CART_TO_PURCHASE_RATIO = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What the stream looks like."""

    shop: ShopConfig = field(default_factory=ShopConfig)
    rate: float = 50.0
    """Mean events per second of event time."""
    start_ms: int = FIXED_START_MS
    calendar_seconds: float = 3_600.0
    """By then every item has come on the market."""
    burst_every_seconds: float = 120.0
    """A burst begins this often; 0: never."""
    burst_seconds: float = 10.0
    burst_factor: float = 4.0
    """How many times the usual rate comes in a burst, half of it to one category."""
    duplicate_ratio: float = 0.0
    """Share of events that are sent a second time a little later, with the same id."""
    late_ratio: float = 0.0
    """Share of events whose time lies up to ten minutes before the events around them."""
    bad_ratio: float = 0.0
    """Share of records that are no events and belong in the dead letters."""

    def __post_init__(self) -> None:
        for name in ("duplicate_ratio", "late_ratio", "bad_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected a share in 0..1, got {getattr(self, name)}")
        if not self.rate > 0 or not self.burst_factor > 0:
            raise ConfigError(f"rate, burst_factor: expected above 0, got {self.rate}, {self.burst_factor}")


@dataclass(slots=True)
class _Session:
    user: int
    name: str
    item: int | None = None
    type: str = ""


def simulated_records(config: SimulationConfig) -> Iterator[OutgoingRecord]:
    """Yield records without end, in the order in which they are due."""
    rng = np.random.default_rng(config.shop.seed)
    simulation = _Simulation(config, rng)
    repeated: list[OutgoingRecord] = []
    while True:
        event, due_ms = simulation.next_event()
        value = encode_event(event)
        if rng.random() < config.bad_ratio:
            value = break_value(value, rng)
        record = OutgoingRecord(event_key(event), value, due_ms)
        yield record
        if rng.random() < config.duplicate_ratio:
            repeated.append(record)
        if repeated and (len(repeated) > MOST_WAITING or rng.random() < 0.2):
            yield repeated.pop(0)._replace(due_ms=due_ms)


class _Simulation:
    """The shop in motion: the clock, the open sessions and the number of events so far."""

    def __init__(self, config: SimulationConfig, rng: np.random.Generator) -> None:
        self._config = config
        self._rng = rng
        self._shop = Shop(config.shop, rng)
        self._seconds = 0.0
        self._num_events = 0
        self._num_sessions = 0
        self._sessions = [self._new_session() for _ in range(OPEN_SESSIONS)]

    def next_event(self) -> tuple[Event, int]:
        """Return the next event and when it is due, ms."""
        bursting = self._is_bursting()
        rate = self._config.rate * (self._config.burst_factor if bursting else 1.0)
        self._seconds += self._rng.exponential(1.0 / rate)
        slot = int(self._rng.integers(len(self._sessions)))
        session = self._sessions[slot]
        self._advance(session, bursting)
        due_ms = self._config.start_ms + round(self._seconds * 1000)
        event = self._event(session, due_ms)
        if self._rng.random() < 1 / MEAN_SESSION_EVENTS:
            self._sessions[slot] = self._new_session()
        return event, due_ms

    def _is_bursting(self) -> bool:
        every, lasts = self._config.burst_every_seconds, self._config.burst_seconds
        return every > 0 and self._seconds > every and self._seconds % every < lasts

    def _advance(self, session: _Session, bursting: bool) -> None:
        """Move a session on: what was put in the cart is often bought, else the next item is looked at."""
        if session.type == "cart" and self._rng.random() < CART_TO_PURCHASE_RATIO:
            session.type = "purchase"
            return
        progress = min(self._seconds / self._config.calendar_seconds, 1.0)
        hot = int(self._seconds // self._config.burst_every_seconds) if bursting else None
        num_categories = self._shop.tastes.shape[1]
        hot = None if hot is None else hot % num_categories
        session.item = self._shop.next_item(session.user, session.item, progress, hot)
        chance = self._rng.random()
        session.type = next(name for name, share in CLICKS_TO if chance <= share)

    def _event(self, session: _Session, due_ms: int) -> Event:
        assert session.item is not None
        self._num_events += 1
        late_ms = 0
        if self._rng.random() < self._config.late_ratio:
            late_ms = int(self._rng.uniform(1.0, LATEST_SECONDS) * 1000)
        seed = self._config.shop.seed
        return Event(
            user=f"user-{session.user}",
            item=f"item-{session.item}",
            type=cast(Any, session.type),
            ts=max(due_ms - late_ms, 0),
            id=f"{seed}-{self._config.start_ms}-{self._num_events}",
            session=session.name,
            context={"category": f"category-{self._shop.category[session.item]}"},
        )

    def _new_session(self) -> _Session:
        self._num_sessions += 1
        name = f"{self._config.shop.seed}-{self._config.start_ms}-{self._num_sessions}"
        return _Session(user=self._shop.visit(), name=name)
