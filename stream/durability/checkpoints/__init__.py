"""Checkpoints: the state after a committed micro-batch, kept where a later worker finds it whole or not at all."""

from stream.durability.checkpoints.errors import (
    CheckpointDamaged,
    CheckpointForeign,
    CheckpointUnavailable,
    CheckpointUnlocked,
)
from stream.durability.checkpoints.manifest import FORMAT_VERSION, FileFacts, Manifest, is_name, name_of
from stream.durability.checkpoints.store import CheckpointStore
from stream.durability.checkpoints.writer import CheckpointWriter, Failed, Outcome, Written

__all__ = [
    "FORMAT_VERSION",
    "CheckpointDamaged",
    "CheckpointForeign",
    "CheckpointStore",
    "CheckpointUnavailable",
    "CheckpointUnlocked",
    "CheckpointWriter",
    "Failed",
    "FileFacts",
    "Manifest",
    "Outcome",
    "Written",
    "is_name",
    "name_of",
]
