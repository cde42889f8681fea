"""Is the worker alive, and is it ready? The state that the loop writes and the probes read."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Health", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a probe: whether all is well, and if not, why not."""

    ok: bool
    reason: str


class Health:
    """What the worker's loop last did.

    The loop's thread writes, the probes' thread reads.

    Args:
        stall_seconds: no progress for this long while records wait means that the loop or a partition is stuck.
        clock: monotonic seconds.
    """

    def __init__(self, stall_seconds: float, clock: Callable[[], float]) -> None:
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._started = False
        self._phase = "starting"
        self._silent_seconds = 0.0
        self._beat = clock()
        self._progress: dict[int, tuple[int, float]] = {}

    def starting(self, phase: str) -> None:
        """The worker is not ready, or not any more, and this is what it does; it lives."""
        with self._lock:
            self._phase = phase
            self._beat = self._clock()
            self._progress.clear()  # what stood still meanwhile stood still for that

    def started(self) -> None:
        """The worker owns its partitions and begins to read."""
        with self._lock:
            self._started = True
            self._beat = self._clock()

    def stopping(self) -> None:
        """The worker takes no more batches."""
        with self._lock:
            self._started = False
            self._phase = "stopping"

    def beat(
        self,
        positions: Mapping[int, int],
        lag: Mapping[int, int],
        silent_seconds: float = 0.0,
        *,
        is_full: bool = False,
    ) -> None:
        """The loop went round.

        Args:
            positions: next offset of every partition.
            lag: records that wait in each.
            silent_seconds: how long the brokers have not answered.
            is_full: this round took as many records as it may. The client gives out what it has fetched partition by
                partition, so on a backlog the others wait their turn, and that is no stall.
        """
        with self._lock:
            now = self._beat = self._clock()
            self._silent_seconds = silent_seconds
            for partition, position in positions.items():
                before, since = self._progress.get(partition, (-1, now))
                moved = position != before or not lag.get(partition, 0) or is_full
                self._progress[partition] = (position, now if moved else since)

    def live(self) -> Verdict:
        """Return whether the process should go on; a broker that is away is no reason to kill it."""
        with self._lock:
            if self._started and (age := self._clock() - self._beat) > self._stall_seconds:
                return Verdict(False, f"the loop has not gone round for {age:.0f} s")
            if stalled := self._stalled():
                return Verdict(False, stalled)
            return Verdict(True, "alive")

    def stalled(self) -> str:
        """Return which partition stands still although records wait and the brokers answer, or an empty text."""
        with self._lock:
            return self._stalled()

    def _stalled(self) -> str:
        for partition, (position, since) in self._progress.items():
            if self._silent_seconds == 0 and (age := self._clock() - since) > self._stall_seconds:
                return f"partition {partition} stands at offset {position} for {age:.0f} s with a lag"
        return ""

    def ready(self) -> Verdict:
        """Return whether lists are fresh: started, brokers answering, loop going round."""
        live = self.live()
        with self._lock:
            if not self._started:
                return Verdict(False, self._phase)
            if self._silent_seconds > 0:
                return Verdict(False, f"the brokers have not answered for {self._silent_seconds:.0f} s")
        return live
