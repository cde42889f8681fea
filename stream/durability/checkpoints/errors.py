"""Why a checkpoint cannot be used or made.

All are refusals to start, with exit code 4: recovery is where they end a worker, and there a person has to choose
(another folder, the former version, an older checkpoint). While a worker runs they end nothing: `CheckpointWriter`
keeps them away from the stream.
"""

from stream.errors import RefusedToStart

__all__ = ["CheckpointDamaged", "CheckpointForeign", "CheckpointUnavailable", "CheckpointUnlocked"]


class CheckpointDamaged(RefusedToStart):
    """Its bytes are not those that were written: take the one before it."""


class CheckpointForeign(RefusedToStart):
    """It is whole, but another version of Millstream wrote it."""


class CheckpointUnavailable(RefusedToStart):
    """The disk or the object store refused to read or write it: nothing is known of its bytes."""


class CheckpointUnlocked(CheckpointUnavailable):
    """The folder's lock is gone: whoever holds it in the brokers' eyes has to lock it again."""
