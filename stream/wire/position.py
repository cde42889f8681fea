"""Where in the stream a state stands: what a checkpoint says of itself, and what recovery compares with the journal."""

from typing import Any

from msgspec import Struct

__all__ = ["Moment"]


class Moment(Struct, frozen=True, kw_only=True):
    """The state after one committed micro-batch."""

    app: str
    """Transactional id of the worker."""
    topic: str
    """The events topic that it learned from."""
    epoch: int
    """Number of the newest micro-batch in the state; 0: none."""
    chain: str
    """The journal's chain at that epoch, 16 hex digits; see `stream.wire.fingerprint`."""
    positions: dict[int, int]
    """Partition number to the next offset to be learned."""
    origin: int
    """The epoch after which the model was untrained; 0 for one that has learned everything."""
    settings_since: int
    """The epoch after which everything was learned with `settings`; not below `origin`."""
    config_hash: str
    """Hash of `settings`."""
    settings: dict[str, Any]
    """The settings that decide what is learned; see `Settings.decisive`."""
    environment: dict[str, str]
    """Versions and device that the numbers were computed with."""
    totals: dict[str, int]
    """Counts of all micro-batches since `origin`, under the names of the journal's."""
