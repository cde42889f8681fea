"""What the page is told: frozen values, made on the worker's thread and sent as JSON."""

import msgspec

__all__ = ["Explained", "EpochLine", "Place", "Point", "RisingLine", "Snapshot", "Tick", "UserAnswer", "UserEvent"]


class Point(msgspec.Struct, frozen=True, array_like=True):
    """One second of the moving lines, sent as an array."""

    time_ms: int
    events_per_second: float
    lag_records: int
    hit_ratios: tuple[float, ...] | None
    """Of `Snapshot.models` over the sliding window; None before the first evaluated event."""


class EpochLine(msgspec.Struct, frozen=True):
    """One committed micro-batch."""

    epoch: int
    committed_at_ms: int
    records: int
    lists: int
    dead_letters: int
    seconds: float
    """Of all stages but waiting for records."""


class RisingLine(msgspec.Struct, frozen=True):
    """One item that is taken more often than usual; see `stream.http.page.trending`."""

    item: str
    lift: float


class Snapshot(msgspec.Struct, frozen=True):
    """The worker at one moment. Counts are since this worker has started, but for users and items."""

    at_ms: int
    epoch: int
    model: str
    device: str
    k: int
    window_events: int
    models: tuple[str, ...]
    num_events: int
    num_lists: int
    num_users: int
    num_items: int
    events_per_second: float
    freshness_p50_seconds: float | None
    """From a record's timestamp to the commit that made its list visible, of the newest 30 s; None: no event."""
    freshness_p99_seconds: float | None
    lag_records: int
    dead_letters: dict[str, int]
    epochs: tuple[EpochLine, ...]
    """Newest first."""
    rising: tuple[RisingLine, ...]
    newest_users: tuple[str, ...]
    """Ids of those who did something last; empty where users are not to be shown."""
    points: tuple[Point, ...]
    """Oldest first."""


class Tick(msgspec.Struct, frozen=True):
    """One server-sent event."""

    is_ready: bool
    phase: str
    """Why the worker is not ready, or how it is."""
    has_users: bool
    """Whether users may be looked up."""
    snapshot: Snapshot | None
    """None: the worker had no time to answer."""
    titles: dict[str, str]
    """Of the items that the snapshot names, as far as known."""


class UserEvent(msgspec.Struct, frozen=True):
    """One remembered event of a user."""

    item: str
    type: str
    time_ms: int


class Explained(msgspec.Struct, frozen=True):
    """What one channel adds to the score of a place, in nats above the average item."""

    channel: str
    nats: float


class Place(msgspec.Struct, frozen=True):
    """One place of a list: what was published of it, and where its score comes from."""

    item: str
    score: float
    reason: str | None
    channels: tuple[Explained, ...]


class UserAnswer(msgspec.Struct, frozen=True):
    """What the worker knows of a user, and the list it would make of that now."""

    user: str
    is_known: bool
    epoch: int
    history: tuple[UserEvent, ...]
    """Newest first."""
    places: tuple[Place, ...]
    """Best first."""
    titles: dict[str, str] = {}
