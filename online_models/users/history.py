"""The last L events of every user, newest first, and what each event of a sub-step could know of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from online_models.batch import NO_ROW, Batch
from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State
from online_models.tables.table_set import Axis, Rows, TableSet

__all__ = ["Context", "Histories", "SubStep"]

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
_NEVER_MS = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is known of the user at each of R questions: his newest L events, newest first."""

    user_rows: Int64
    """``[R]`` int64."""
    item_rows: Int64
    """``[R, L]`` int64, ``NO_ROW`` after the last."""
    event_types: npt.NDArray[np.int8]
    """``[R, L]`` int8."""
    times_ms: Int64
    """``[R, L]`` int64."""

    @property
    def lengths(self) -> Int64:
        """Return how many events each history holds: ``[R]`` int64."""
        lengths: Int64 = (self.item_rows != NO_ROW).sum(axis=1)
        return lengths

    def take(self, places: Int64) -> "Context":
        """Return the questions at ``places``."""
        return Context(
            user_rows=self.user_rows[places],
            item_rows=self.item_rows[places],
            event_types=self.event_types[places],
            times_ms=self.times_ms[places],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubStep:
    """B events that are scored by one state and then learned, with what each could know.

    An event *advances* its user when it is evidence for an item (weight above 0) and not late: only
    then does it become the newest of the history and move the recurrent state.
    """

    batch: Batch
    context: Context
    """Of each event, ``[B]``: the user's earlier events of this very sub-step are in it."""
    is_late: Bool
    """``[B]``: older than the newest event of its user."""
    groups: Int64
    """``[B]``: which of the G different users, index into ``users``."""
    ordinals: Int64
    """``[B]``: how many events of this sub-step had advanced the user before it."""
    users: Int64
    """``[G]`` user rows."""
    advancing: Int64
    """``[G, M]``: position in the batch of each user's advancing events in order, else ``NO_ROW``."""
    before: Context
    """Of each user, ``[G]``: the history as it was before the sub-step."""
    after: Context
    """Of each user, ``[G]``: the history as it will be after it."""


class Histories(TableSet):
    """Newest events of every user, ordered by event time; equal times in stream order."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.item_rows = self.array("item_rows", Rows(Axis.USERS, fill=NO_ROW), (length,), np.int32)
        self.event_types = self.array("event_types", Rows(Axis.USERS), (length,), np.int8)
        self.times_ms = self.array("times_ms", Rows(Axis.USERS), (length,), np.int64)
        self.grow(0)

    def context(self, user_rows: Int64) -> Context:
        """Return a copy of the histories of ``user_rows`` ``[R]``; rows never seen have empty ones."""
        is_inside = user_rows < len(self.item_rows)
        inside = np.where(is_inside, user_rows, 0)
        return Context(
            user_rows=user_rows,
            item_rows=np.where(is_inside[:, None], self.item_rows[inside], NO_ROW).astype(np.int64),
            event_types=self.event_types[inside],
            times_ms=self.times_ms[inside],
        )

    def write(self, context: Context) -> None:
        """Replace the histories of the users of ``context``."""
        self.item_rows[context.user_rows] = context.item_rows
        self.event_types[context.user_rows] = context.event_types
        self.times_ms[context.user_rows] = context.times_ms

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Empty the histories of these users, and take these items out of all others."""
        self.item_rows[user_rows] = NO_ROW
        if not len(item_rows):
            return
        gone = np.zeros(max(int(item_rows.max()), int(self.item_rows.max(initial=0))) + 2, np.bool_)
        gone[item_rows] = True  # the last place is False: NO_ROW points there
        touched = np.flatnonzero(gone[self.item_rows].any(axis=1))
        items = self.item_rows[touched]
        items = np.where(gone[items], NO_ROW, items)
        order = np.argsort(items == NO_ROW, axis=1, kind="stable")
        self.item_rows[touched] = np.take_along_axis(items, order, 1)
        self.event_types[touched] = np.take_along_axis(self.event_types[touched], order, 1)
        self.times_ms[touched] = np.take_along_axis(self.times_ms[touched], order, 1)

    def load(self, state: State) -> None:
        """Take ``state`` over and grow to its users; raises StateError when it does not fit.

        So it says how many users there are; whatever else has rows of users is grown to as many before it loads.
        """
        reader = StateReader(state, self.names())
        self.grow(len(reader.array("item_rows", np.int32, (None, self.length))))
        self.read(reader)

    def plan(self, batch: Batch) -> SubStep:
        """Return what each event of ``batch`` may know, without changing anything."""
        users, groups = np.unique(batch.user_rows, return_inverse=True)
        before = self.context(users)
        newest_ms = np.where(before.item_rows[:, 0] != NO_ROW, before.times_ms[:, 0], _NEVER_MS)
        earlier = (groups[:, None] == groups[None, :]) & np.tri(len(batch), k=-1, dtype=np.bool_)
        positive = batch.weights > 0
        earlier_ms = np.where(earlier & positive[None, :], batch.times_ms[None, :], _NEVER_MS)
        is_late = batch.times_ms < np.maximum(newest_ms[groups], earlier_ms.max(axis=1, initial=_NEVER_MS))
        advances = positive & ~is_late
        ordinals = (earlier & advances[None, :]).sum(axis=1)
        counts = np.bincount(groups[advances], minlength=len(users))
        advancing = np.full((len(users), int(counts.max(initial=0))), NO_ROW, np.int64)
        advancing[groups[advances], ordinals[advances]] = np.flatnonzero(advances)
        combined = _combine(before, batch, advancing)
        context = _window(combined, groups, ordinals, self.length)
        after = _window(combined, np.arange(len(users)), counts, self.length)
        for group in np.unique(groups[is_late]):  # rare: late events break the neat order
            _replay_late(int(group), batch, groups, is_late, before, context, after)
        return SubStep(
            batch=batch,
            context=context,
            is_late=is_late,
            groups=groups,
            ordinals=ordinals,
            users=users,
            advancing=advancing,
            before=before,
            after=after,
        )


def _combine(before: Context, batch: Batch, advancing: Int64) -> Context:
    """Return for each user ``[G, M + L]`` events: the advancing ones right to left, then his history."""
    backwards = advancing[:, ::-1]
    items = np.where(backwards == NO_ROW, NO_ROW, batch.item_rows[backwards])
    return Context(
        user_rows=before.user_rows,
        item_rows=np.concatenate([items, before.item_rows], axis=1),
        event_types=np.concatenate([batch.event_types[backwards], before.event_types], axis=1),
        times_ms=np.concatenate([batch.times_ms[backwards], before.times_ms], axis=1),
    )


def _window(combined: Context, groups: Int64, ordinals: Int64, length: int) -> Context:
    """Return the ``length`` newest events once ``ordinals`` of the group's events have advanced it."""
    num_new = combined.item_rows.shape[1] - length
    rows, columns = groups[:, None], (num_new - ordinals)[:, None] + np.arange(length)
    return Context(
        user_rows=combined.user_rows[groups],
        item_rows=combined.item_rows[rows, columns],
        event_types=combined.event_types[rows, columns],
        times_ms=combined.times_ms[rows, columns],
    )


def _replay_late(
    group: int, batch: Batch, groups: Int64, is_late: Bool, before: Context, context: Context, after: Context
) -> None:
    """Rewrite the contexts and the final history of one user, event by event, late ones at their place.

    A late event knows only what is not newer than itself; later events see it where its time puts it.
    """
    length = before.item_rows.shape[1]
    held = int((before.item_rows[group] != NO_ROW).sum())
    items = list(before.item_rows[group, :held])
    types = list(before.event_types[group, :held])
    times = list(before.times_ms[group, :held])
    for place in np.flatnonzero(groups == group).tolist():
        at = sum(time > batch.times_ms[place] for time in times) if is_late[place] else 0
        _fill(context, place, items[at:], types[at:], times[at:])
        if batch.weights[place] > 0:
            items.insert(at, batch.item_rows[place])
            types.insert(at, batch.event_types[place])
            times.insert(at, batch.times_ms[place])
            del items[length:], types[length:], times[length:]
    _fill(after, group, items, types, times)


def _fill(context: Context, place: int, items: list[np.int64], types: list[np.int8], times: list[np.int64]) -> None:
    context.item_rows[place] = NO_ROW
    context.item_rows[place, : len(items)] = items
    context.event_types[place, : len(types)] = types
    context.times_ms[place, : len(times)] = times
