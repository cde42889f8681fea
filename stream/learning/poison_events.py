"""Finding the events after which a loss is not finite, so that the others can be learned.

It is the slow path: every trial begins with a copy of the whole state. Nothing of the batch has been committed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from online_models import State, StepReport
from stream.errors import ModelBroken
from stream.ingest.decode import Decoded
from stream.ingest.encode import Encoded
from stream.learning.worker_state import WorkerState
from stream.wire.decisions import Decisions
from stream.wire.records import Record

__all__ = ["Isolated", "isolate"]

MAX_OFFENDERS = 16
"""More of them in one batch mean that it is the model, and not the events."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """A batch as it was learned, and what was left out of it."""

    decoded: Decoded
    encoded: Encoded
    step: StepReport
    decisions: Decisions
    """Those of before, and what was left out."""


def isolate(
    fresh: Callable[[], WorkerState],
    before: WorkerState,
    records: list[Record],
    decisions: Decisions,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[WorkerState, Isolated]:
    """Return the state after the batch without its offenders, and what was learned.

    Args:
        fresh: makes an untrained state.
        before: the state before the batch.
        records: of the batch, in order.
        decisions: about the batch, with nothing left out.
        progress: told at every trial, in words.

    Raises:
        ModelBroken: the state before the batch is not finite, or too many events offend.
    """
    if not before.learner.is_finite():
        raise ModelBroken(
            "the model holds numbers that are not finite, so no event is at fault. It follows from the log, and an "
            "older checkpoint would lead here again: start with --cold, or with other settings and --from-beginning"
        )
    trials = _Trials(fresh, before.state(), records, progress)
    while True:
        state, isolated = trials.learn(len(records), decisions)
        if not isolated.step.num_nonfinite_steps:
            return state, isolated
        if decisions.num_excluded == MAX_OFFENDERS:
            raise ModelBroken(
                f"more than {MAX_OFFENDERS} events of one batch lead to a loss that is not finite: it is the model. "
                "Start with --cold, or with other settings and --from-beginning"
            )
        offender = records[trials.shortest_bad_prefix(decisions) - 1]
        if decisions.excludes(offender.partition, offender.offset):
            raise ModelBroken("the same batch is finite at one time and not at another: see model.deterministic")
        decisions = decisions.excluding(offender.partition, offender.offset)


class _Trials:
    """Learns prefixes of one batch, each from the same state."""

    def __init__(
        self,
        fresh: Callable[[], WorkerState],
        saved: State,
        records: list[Record],
        progress: Callable[[str], None],
    ) -> None:
        self._fresh, self._saved, self._records, self._progress = fresh, saved, records, progress

    def learn(self, num_records: int, decisions: Decisions) -> tuple[WorkerState, Isolated]:
        self._progress(f"isolating events that make the loss infinite: trying {num_records} of {len(self._records)}")
        state = self._fresh()
        state.load(self._saved)
        decoded, encoded = state.read(self._records[:num_records], decisions)
        return state, Isolated(decoded, encoded, state.learn(decoded, encoded), decisions)

    def shortest_bad_prefix(self, decisions: Decisions) -> int:
        """Return the length of a prefix that is not finite while the one without its last record is."""
        good, bad = 0, len(self._records)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self.learn(middle, decisions)[1].step.num_nonfinite_steps:
                bad = middle
            else:
                good = middle
        return bad
