"""What the worker knows of one user, and why each item is in his list."""

import numpy as np

from online_models import NO_ROW, Explanation
from stream.http.page.snapshot import Explained, Place, UserAnswer, UserEvent
from stream.learning.worker_state import WorkerState
from stream.pipeline import Pipeline
from stream.publish import SCORE_DIGITS
from stream.wire.schema import EVENT_TYPES

__all__ = ["answer_about"]

MOST_EVENTS = 50
MOST_PLACES = 50
NAT_DIGITS = 4


def answer_about(pipeline: Pipeline, user: str, k: int) -> UserAnswer:
    """Return a user's newest events and the list he would get now; changes nothing, and does not count as seen.

    Args:
        pipeline: between two batches.
        user: his id.
        k: length of the lists.
    """
    row = _newest_row(pipeline.state, user)
    if row is None:
        return UserAnswer(user, False, pipeline.epoch, (), ())
    explanation = pipeline.state.learner.explain(row, k)
    history = _history(pipeline.state, explanation)
    return UserAnswer(user, True, pipeline.epoch, history, _places(pipeline.state, explanation))


def _newest_row(state: WorkerState, user: str) -> int | None:
    """Return the row of the user; of one who was sent with other keys and has several, the one of his newest event."""
    found = [state.encoder.users.get(partition, user) for partition in range(state.encoder.users.num_partitions)]
    rows = np.array([row for row in found if row is not None], np.int64)
    return int(rows[state.learner.newest_times_ms(rows).argmax()]) if rows.size else None


def _history(state: WorkerState, explanation: Explanation) -> tuple[UserEvent, ...]:
    held = explanation.history
    columns = (held.item_rows[0].tolist(), held.event_types[0].tolist(), held.times_ms[0].tolist())
    return tuple(
        UserEvent(state.encoder.items.id_of(item), EVENT_TYPES[kind], time_ms)
        for item, kind, time_ms in zip(*columns, strict=True)
        if item != NO_ROW
    )[:MOST_EVENTS]


def _places(state: WorkerState, explanation: Explanation) -> tuple[Place, ...]:
    top, id_of = explanation.top, state.encoder.items.id_of
    columns = (top.item_rows[0].tolist(), top.scores[0].tolist(), top.reasons[0].tolist())
    return tuple(
        Place(
            item=id_of(item),
            score=round(score, SCORE_DIGITS),
            reason=None if reason == NO_ROW else id_of(reason),
            channels=tuple(
                Explained(name, round(nats, NAT_DIGITS)) for name, nats in zip(explanation.columns, row, strict=True)
            ),
        )
        for item, score, reason, row in zip(*columns, explanation.contributions.tolist(), strict=True)
        if item != NO_ROW
    )[:MOST_PLACES]
