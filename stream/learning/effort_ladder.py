"""Which rung of the model's effort the next batch gets: what `model.effort = auto` decides from the lag.

Only the live worker asks. What it decided is in the journal, and recovery takes it from there.
"""

from online_models import Effort
from stream.config.settings import Settings

__all__ = ["EffortLadder"]

FALL_BATCHES = 4
"""With so many full batches waiting, effort falls by one rung."""
RISE_BATCHES = 8
"""Effort rises by one rung after so many batches in a row with less than one full batch waiting."""


class EffortLadder:
    """Gives the effort of each batch: as set, or by the lag.

    It falls at once and rises late, and between the two limits it stays, so that a lag near one of them does not make
    it swing.

    Args:
        settings: `model.effort`, and `batching.max_events` as the measure of the lag.
    """

    def __init__(self, settings: Settings) -> None:
        self.is_auto = settings.model.effort == "auto"
        self._effort = Effort.NORMAL if self.is_auto else Effort(settings.model.effort)
        self._full_batch = settings.batching.max_events
        self._num_calm = 0

    def decide(self, lag_records: int) -> Effort:
        """Return the effort of the next batch.

        Args:
            lag_records: committed records that wait behind it.
        """
        if not self.is_auto:
            return self._effort
        rungs = list(Effort)
        at = rungs.index(self._effort)
        self._num_calm = self._num_calm + 1 if lag_records < self._full_batch else 0
        if lag_records >= FALL_BATCHES * self._full_batch:
            at = max(at - 1, 0)
        elif self._num_calm >= RISE_BATCHES:
            at, self._num_calm = min(at + 1, len(rungs) - 1), 0
        self._effort = rungs[at]
        return self._effort
