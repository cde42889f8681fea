"""Checkpoints: the state after a committed micro-batch, kept where a later worker finds it whole or not at all."""

from stream.checkpoints.errors import CheckpointDamaged, CheckpointForeign, CheckpointUnavailable
from stream.checkpoints.manifest import FORMAT_VERSION, FileFacts, Manifest, is_name, name_of
from stream.checkpoints.store import CheckpointStore
from stream.checkpoints.writer import CheckpointWriter, Failed, Outcome, Written

__all__ = [
    "FORMAT_VERSION",
    "CheckpointDamaged",
    "CheckpointForeign",
    "CheckpointStore",
    "CheckpointUnavailable",
    "CheckpointWriter",
    "Failed",
    "FileFacts",
    "Manifest",
    "Outcome",
    "Written",
    "is_name",
    "name_of",
]
