"""What a worker starts from: what was asked for, and what was found."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from online_models import State, StateError
from stream.durability.checkpoints import Manifest, name_of
from stream.errors import RefusedToStart
from stream.learning.worker_state import WorkerState

__all__ = ["Beginning", "Kind", "Recovered", "load_saved"]

Kind = Literal["newest", "checkpoint", "beginning", "cold"]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a worker starts from.

    `newest`: the newest usable checkpoint. `checkpoint`: the one of `epoch`. `beginning`: an untrained model that
    re-learns all journalled batches that are still in the log. `cold`: an untrained model at the committed offsets.
    """

    kind: Kind = "newest"
    epoch: int = 0
    accept_difference: bool = False
    """Go on although what was re-learned is not bit for bit what was published from."""
    accept_model_change: bool = False
    """Go on from the newest commit although settings that decide what is learned are not those of before."""


@dataclass(slots=True)
class Recovered:
    """A state, and the moment of the stream that it stands at."""

    state: WorkerState
    epoch: int
    chain: str
    origin: int
    settings_since: int
    manifest: Manifest | None = None
    """Of the checkpoint that it was made from."""
    num_batches: int = 0
    """Batches that were re-learned after it."""
    num_records: int = 0
    num_lost: int = 0
    """Journalled batches that could not be re-learned because their records are gone; only from the beginning."""
    is_new: bool = False
    """The log and the checkpoints do not lead here by themselves: it has to be written down before the next commit."""
    environment_changes: dict[str, str] = field(default_factory=dict)
    """What the checkpoint was computed with and what is here, where they are different."""
    seconds: float = field(default=0.0, compare=False)

    @property
    def checkpoint(self) -> str | None:
        """Name of the checkpoint that it was made from."""
        return None if self.manifest is None else name_of(self.manifest.moment.epoch)


def load_saved(state: WorkerState, saved: State, changed: Collection[str], name: str, remedy: str = "") -> None:
    """Give an untrained state what a checkpoint holds; the windows of the quality only if their settings are the same.

    Args:
        state: to be filled.
        saved: what the checkpoint holds.
        changed: names of the decisive settings that are different now.
        name: of the checkpoint.
        remedy: ends the message.

    Raises:
        RefusedToStart: it does not fit these settings.
    """
    has_other_windows = any(setting.startswith("quality.") or setting == "model.k" for setting in changed)
    try:
        state.load(saved, with_quality=not has_other_windows)
    except StateError as error:
        since = ", ".join(changed) or "?"
        raise RefusedToStart(
            f"checkpoint {name} does not fit these settings ({error}); changed since: {since}{remedy}"
        ) from error
