"""The wire: every record value as a typed struct, and its JSON Schema.

Unknown fields are ignored and meanings never change, so that producers and Millstream can be upgraded one at a time.
The JSON Schemas in `docs/schemas/` are written from these structs by `millstream topics schemas`.
"""

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from stream.wire.decisions import Decisions, EffortLevel

__all__ = [
    "ERROR_PREFIX",
    "EVENT_TYPES",
    "FIRST_DECODE_VERSION",
    "FIRST_MODEL_VERSION",
    "Event",
    "EventType",
    "Item",
    "JournalEntry",
    "OffsetRange",
    "RankedItem",
    "REPLAY_PREFIX",
    "Recommendation",
    "SCHEMAS",
    "SOURCE_PREFIX",
    "json_schema",
]

ERROR_PREFIX = "millstream.error."
"""Headers of a dead letter: code, message, topic, partition, offset, timestamp, app, version, format."""
REPLAY_PREFIX = "millstream.replay."
"""Headers of an event that `millstream dlq replay` sent again, and of the receipt that it left: of, times."""
SOURCE_PREFIX = "millstream.source."
"""Headers of a list: partition, offset and timestamp of the newest record that it knows."""

FIRST_MODEL_VERSION = 6
"""The version of the model behind journal records and checkpoints that do not tell it."""
FIRST_DECODE_VERSION = 1
"""The version of decoding behind journal records and checkpoints that do not tell it."""

EventType = Literal["view", "click", "cart", "purchase", "like", "dislike", "rating", "impression"]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
"""In this order they are numbered inside; new types are only ever added at the end."""


class Event(Struct, frozen=True, omit_defaults=True):
    """One interaction of a user with an item; value of a record of the topic `events`, key = the user id."""

    user: Annotated[str, Meta(min_length=1, description="User id. Also the record's key, so that order is kept.")]
    item: Annotated[str, Meta(min_length=1, description="Item id.")]
    type: Annotated[EventType, Meta(description="What the user did. What it is worth is a setting of the worker.")]
    ts: Annotated[
        int | None,
        Meta(description="Event time in ms since the Unix epoch, 1973 to 5138. Missing: the record's timestamp."),
    ] = None
    id: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(description="Unique id of the event. Given: the same event again within the window is skipped."),
    ] = None
    value: Annotated[float | None, Meta(description="Rating, price or quantity; for information.")] = None
    session: Annotated[str | None, Meta(description="Session, basket or invoice id.")] = None
    context: Annotated[
        dict[str, str | int | float | bool | None] | None, Meta(description="Flat facts: device, country…")
    ] = None


class Item(Struct, frozen=True, omit_defaults=True):
    """What is known of an item, for titles; value of a record of the topic `items`, key = the item id.

    Null value: nothing is known any more. It takes no item out of the lists, and neither does anything else here.
    """

    item: Annotated[str, Meta(min_length=1, description="Item id. Also the record's key.")]
    title: str | None = None
    text: str | None = None
    categories: list[str] | None = None
    price: float | None = None
    attributes: dict[str, str | int | float | bool | None] | None = None


class RankedItem(Struct, frozen=True, omit_defaults=True):
    """One place of a list."""

    item: Annotated[str, Meta(description="Item id.")]
    score: Annotated[float, Meta(ge=0, le=1, description="Probability that this is the user's next item.")]
    reason: Annotated[
        str | None, Meta(description="The item of the user's history that speaks most for this one, if one does.")
    ] = None


class Recommendation(Struct, frozen=True):
    """A user's list; value of a record of the topic `recommendations`, key = the user id. Null value: user erased."""

    user: Annotated[str, Meta(description="User id. Also the record's key.")]
    generated_at: Annotated[int, Meta(description="When the list was computed, ms since the Unix epoch.")]
    event_ts: Annotated[int, Meta(description="Event time of the newest event that the list knows, ms.")]
    epoch: Annotated[int, Meta(ge=1, description="Number of the micro-batch; see the journal.")]
    model: Annotated[str, Meta(description="Scorer and its version, such as sequence-1.")]
    items: Annotated[list[RankedItem], Meta(description="Best first; fewer than k when the catalogue is small.")]


class OffsetRange(Struct, frozen=True):
    """Offsets of one partition in one micro-batch, `[first, next)`. Gaps (markers, compaction) are allowed."""

    first: Annotated[int, Meta(ge=0, description="Offset of the first record of the batch.")]
    next: Annotated[int, Meta(ge=1, description="Offset after the last one: what the group committed.")]


class JournalEntry(Struct, frozen=True):
    """What one committed micro-batch was; value of a record of the topic `millstream.journal`, key = the app."""

    epoch: Annotated[int, Meta(ge=1, description="1, 2, 3… without a gap.")]
    app: Annotated[str, Meta(description="Transactional id of the worker.")]
    topic: Annotated[str, Meta(description="The topic that the offsets belong to.")]
    partitions: Annotated[dict[int, OffsetRange], Meta(description="Partition number to offsets of this batch.")]
    positions: Annotated[dict[int, int], Meta(description="Next offset of every partition after this batch.")]
    counts: Annotated[
        dict[str, int],
        Meta(description="events, learned, duplicates, late, dead_letters, lists; reused_ids, split_users where any."),
    ]
    decoded_at_ms: Annotated[int, Meta(description="The clock that future event times were judged by, ms.")]
    generated_at_ms: Annotated[int, Meta(description="When the lists were computed: their generated_at, ms.")]
    config_hash: Annotated[str, Meta(description="Hash of the settings that decide what is learned.")]
    origin: Annotated[int, Meta(ge=0, description="The epoch after which the model was untrained; 0: it knows all.")]
    settings_since: Annotated[
        int, Meta(ge=0, description="The epoch after which everything was learned with the settings of config_hash.")
    ]
    records_hash: Annotated[str, Meta(description="Multiset hash of the records of this batch, 16 hex digits.")]
    applied_hash: Annotated[str, Meta(description="Multiset hash of all records learned since origin, 16 hex digits.")]
    lists_hash: Annotated[str, Meta(description="Hash of the keys and values of the lists of this batch.")]
    chain: Annotated[str, Meta(description="Hash of the entry before and this one: a lost or changed entry shows.")]
    excluded: Annotated[
        dict[int, list[int]],
        Meta(description="Partition to offsets of events that made the model's loss infinite; they are dead letters."),
    ] = {}
    effort: Annotated[EffortLevel, Meta(description="What the model spent on this batch, on its ladder.")] = "normal"
    checkpoint: Annotated[str | None, Meta(description="Newest checkpoint that was written by then, if any.")] = None
    model_version: Annotated[int, Meta(ge=1, description="Version of the model that learned this batch.")] = (
        FIRST_MODEL_VERSION
    )
    decode_version: Annotated[
        int, Meta(ge=1, description="Version of how a record becomes an event, and which events are repetitions.")
    ] = FIRST_DECODE_VERSION

    @property
    def decisions(self) -> Decisions:
        """What was decided about this batch; it decides the same when it is learned again."""
        return Decisions(**{name: getattr(self, name) for name in Decisions.__struct_fields__})


SCHEMAS: dict[str, type[Struct]] = {
    "event": Event,
    "item": Item,
    "recommendation": Recommendation,
    "journal": JournalEntry,
}
"""File name in `docs/schemas/` (without `.schema.json`) to struct."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of one record value.

    Args:
        name: a key of `SCHEMAS`.
    """
    schema = msgspec.json.schema(SCHEMAS[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:millstream:schema:{name}:1",
        **schema,
    }
