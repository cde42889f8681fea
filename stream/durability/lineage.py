"""Which checkpoints and which batches belong to one model: from where on it learned, and by which settings."""

from stream.wire.position import Moment
from stream.wire.schema import JournalEntry

__all__ = ["is_of_this_life", "leads_to", "life_of"]


def is_of_this_life(moment: Moment, newest: JournalEntry) -> bool:
    """Return whether the model of `newest` came from this checkpoint: none that a cold start or rebuild left behind."""
    if moment.epoch == newest.epoch and moment.chain == newest.chain:
        return True
    if moment.origin != newest.origin:
        return False
    return moment.epoch == newest.settings_since or (
        moment.config_hash == newest.config_hash and moment.settings_since == newest.settings_since
    )


def life_of(entry: JournalEntry) -> tuple[int, int, str]:
    """Return what is the same for all batches that one model learned with one choice of settings."""
    return entry.origin, entry.settings_since, entry.config_hash


def leads_to(moment: Moment, entry: JournalEntry) -> bool:
    """Return whether the model of `entry` came from this checkpoint."""
    if set(moment.positions) != set(entry.positions) or moment.origin != entry.origin:
        return False
    if moment.epoch < entry.settings_since:
        return False
    is_of_same_settings = moment.config_hash == entry.config_hash and moment.settings_since == entry.settings_since
    return is_of_same_settings or moment.epoch == entry.settings_since
