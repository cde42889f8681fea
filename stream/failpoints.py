"""The named instants between reading a record and keeping what was learned of it.

Whoever wants to know passes a function that is called with the name: the fault tests kill the process there. In
production it is `unwatched`, which does nothing.
"""

from collections.abc import Callable

__all__ = ["INSTANTS", "Watch", "unwatched"]

Watch = Callable[[str], None]

INSTANTS = (
    "taken_over",  # the producer is initialised: the worker before is fenced, its open transaction rolled back
    "checkpoint_loaded",
    "batch_relearned",  # once for every batch of the recovery
    "recovered",
    "polled",
    "learned",
    "ranked",
    "transaction_begun",
    "records_sent",
    "records_flushed",
    "offsets_sent",
    "transaction_committed",
    "state_copied",
    "checkpoint_written",  # under its temporary name
    "checkpoint_synced",
    "checkpoint_renamed",
    "checkpoint_pruned",
)
"""In the order in which a run meets them; the last five on the thread that writes checkpoints, but for the copy."""


def unwatched(_: str) -> None:
    """Let the instant pass."""
