"""The thread that writes checkpoints, so that the stream does not wait for the disk."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from online_models import State
from stream.durability.checkpoints.errors import CheckpointUnlocked
from stream.durability.checkpoints.manifest import Manifest, name_of
from stream.durability.checkpoints.store import CheckpointStore
from stream.errors import FencedError
from stream.wire.position import Moment

__all__ = ["CheckpointWriter", "Failed", "Outcome", "Written"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A checkpoint is there."""

    manifest: Manifest
    seconds: float
    num_bytes: int
    """Size of the file with the state."""

    @property
    def name(self) -> str:
        """What the checkpoint is called."""
        return name_of(self.manifest.moment.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A checkpoint could not be written, or an older one not removed."""

    epoch: int
    reason: str
    seconds: float
    is_fenced: bool
    """Another worker has taken the folder over: no later write can succeed."""
    is_unlocked: bool = False
    """The folder's lock is gone: it has to be locked again, by who has asked the brokers."""


Outcome = Written | Failed


class CheckpointWriter:
    """Writes one checkpoint at a time, on a thread of its own.

    What goes wrong there never reaches the stream as an exception: it is an outcome, and the next write may succeed.

    Args:
        store: where to; until `close` nobody else may write to it.
        wall_ms: now, in milliseconds since the Unix epoch, for the manifests.
        clock: seconds that never run backwards, for how long a write takes.
    """

    def __init__(
        self, store: CheckpointStore, wall_ms: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._clock = clock
        self._changed = threading.Condition()
        self._slot: tuple[Moment, State] | None = None
        self._is_busy = False
        self._is_closed = False
        self._outcomes: list[Outcome] = []
        self._thread = threading.Thread(target=self._run, name="millstream-checkpoints", daemon=True)
        self._thread.start()

    def is_busy(self) -> bool:
        """Return whether a write is under way; ask before copying a state for an offer."""
        with self._changed:
            return self._is_busy

    def offer(self, moment: Moment, state: State) -> bool:
        """Hand over a state to be written, and return whether it is: not while another one is written.

        Args:
            moment: where in the stream `state` stands.
            state: from now on the writer's.
        """
        with self._changed:
            if self._is_busy or self._is_closed:
                return False
            self._slot, self._is_busy = (moment, state), True
            self._changed.notify_all()
            return True

    def outcomes(self) -> list[Outcome]:
        """Return what has become of the offers since the last call, in their order."""
        with self._changed:
            done, self._outcomes = self._outcomes, []
            return done

    def wait(self, wait_seconds: float | None = None) -> bool:
        """Return whether the running write, if there is one, ended within `wait_seconds`; None: whenever it ends."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_busy, wait_seconds)

    def close(self, wait_seconds: float = 0.0) -> bool:
        """Take no more offers, and return whether the running write ended within `wait_seconds`.

        What is still running then ends with the process, and leaves nothing that looks like a checkpoint.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(wait_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._write_next():
            pass

    def _write_next(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._is_closed)
            if self._slot is None:
                return False
            (moment, state), self._slot = self._slot, None
        outcome = self._write(moment, state)
        del state  # it may be as large as the model: let it go before the next one is copied
        with self._changed:
            self._outcomes.append(outcome)
            self._is_busy = False
            self._changed.notify_all()
        return True

    def _write(self, moment: Moment, state: State) -> Outcome:
        start = self._clock()
        try:
            manifest = self._store.write(moment, state, self._wall_ms())
        except BaseException as error:  # whatever it is, the stream goes on without this checkpoint
            return Failed(
                epoch=moment.epoch,
                reason=f"{type(error).__name__}: {error}",
                seconds=self._clock() - start,
                is_fenced=isinstance(error, FencedError),
                is_unlocked=isinstance(error, CheckpointUnlocked),
            )
        num_bytes = sum(facts.num_bytes for facts in manifest.files.values())
        return Written(manifest=manifest, seconds=self._clock() - start, num_bytes=num_bytes)
