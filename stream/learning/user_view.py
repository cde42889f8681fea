"""What a state knows of one user, and the list it makes of that."""

from typing import Any

import msgspec
import numpy as np

from online_models import NO_ROW, State
from stream.errors import RefusedToStart
from stream.learning.worker_state import WorkerState
from stream.publish import ranked
from stream.wire.schema import EVENT_TYPES, RankedItem

__all__ = ["HistoryEvent", "UserView", "view_user"]


class HistoryEvent(msgspec.Struct, frozen=True):
    """One remembered event of a user."""

    item: str
    type: str
    time_ms: int


class UserView(msgspec.Struct, frozen=True):
    """What a state knows of one user, and the list it makes of that."""

    user: str
    partition: int
    history: list[HistoryEvent]
    """Newest first."""
    items: list[RankedItem]
    """Best first."""
    channel_weights: dict[str, float]
    """Mean trust in each channel: what its log-score counts for in the mixture."""


def view_user(state: WorkerState, saved: State, user: str, k: int) -> UserView:
    """Return what a state knows of a user.

    Args:
        state: read, not changed.
        saved: what `state.state()` returned, or what it was loaded from.
        user: the user's id.
        k: most items in the list.

    Raises:
        RefusedToStart: the user has no row in this state.
    """
    parts: Any = saved
    found = {p: state.encoder.users.get(p, user) for p in range(parts["encoder"]["users"]["num_partitions"])}
    rows = {partition: row for partition, row in found.items() if row is not None}
    if not rows:
        raise RefusedToStart(
            f"user {user!r}: not known at that moment: nothing of him was learned by then, or the longest unseen users "
            "had left (model.user_capacity)"
        )
    newest_ms = state.learner.newest_times_ms(np.array(list(rows.values())))
    partition = list(rows)[int(newest_ms.argmax())]  # one who was sent with other keys has rows in several
    row = rows[partition]
    tables = parts["learner"]["histories"]
    history = []
    if row < len(tables["item_rows"]):
        columns = (tables[name][row].tolist() for name in ("item_rows", "event_types", "times_ms"))
        history = [
            HistoryEvent(state.encoder.items.id_of(item), EVENT_TYPES[kind], time_ms)
            for item, kind, time_ms in zip(*columns, strict=True)
            if item != NO_ROW
        ]
    return UserView(user, partition, history, _list_of(state, row, k), state.learner.fusion_weights())


def _list_of(state: WorkerState, row: int, k: int) -> list[RankedItem]:
    top, items = state.learner.rank(np.array([row]), k), state.encoder.items
    return ranked(items, top.item_rows[0].tolist(), top.scores[0].tolist(), top.reasons[0].tolist())
