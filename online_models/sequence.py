"""The default scorer: a recurrent network that reads each user's events and is learned as they come.

The state kept per user is the one *before* his newest event, which is read again with the weights of the
moment whenever he is scored: so each step also teaches the network how to read it. Weights that score, and that move
the states on, are a running mean of those that learn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from online_models.batch import NO_ROW, Batch
from online_models.chance import Salt, draws_of
from online_models.config import LearnerConfig
from online_models.effort import num_steps, replays
from online_models.history import Context, SubStep
from online_models.parts import Parts, Table, are_finite, copies
from online_models.recurrent import RecurrentNetwork
from online_models.replay import ReplayLog
from online_models.runs import (
    Runs,
    runs_of_contexts,
    runs_of_users,
    runs_of_windows,
    stack_runs,
    window_targets,
)
from online_models.sequence_weights import SequenceWeights
from online_models.softmax import full_logits_loss, sampled_loss
from online_models.state import State
from online_models.tables import allocated_rows, grow_array, grow_table

__all__ = ["SequenceScorer"]

Int64 = npt.NDArray[np.int64]
_NO_EVENTS = Batch(
    user_rows=np.empty(0, np.int64),
    item_rows=np.empty(0, np.int64),
    event_types=np.empty(0, np.int8),
    times_ms=np.empty(0, np.int64),
    weights=np.empty(0, np.float32),
    owns=np.empty(0, np.bool_),
    reset_user_rows=np.empty(0, np.int64),
    reset_item_rows=np.empty(0, np.int64),
)


@dataclass(frozen=True, slots=True)
class _Forward:
    """What learns from the new events of a sub-step and the replayed ones."""

    num_items: int
    rows: Tensor | None  # [m] catalogue rows that take part, sorted; None: all of them
    items: Tensor  # [m, D] leaf
    bias: Tensor  # [m] leaf
    queries: Tensor  # [P, D]: of the B events, then of the replayed ones
    targets: Tensor  # [P] catalogue rows
    weights: Tensor  # [P]
    drawn: Tensor  # [N] catalogue rows, none where all items take part
    uniform_ratio: float  # of the drawn
    logits: Tensor | None  # [P, I] where all items take part


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the mean weights make of the new events of a sub-step."""

    step: SubStep
    queries: Tensor  # [B, D]
    hidden: Tensor  # [runs, T, H]


class SequenceScorer:
    """Item embeddings shared by input and output, a recurrent state per user, replay against forgetting."""

    def __init__(self, config: LearnerConfig, device: torch.device) -> None:
        self.config = config.sequence
        self.seed = config.seed
        self.full_step_events = config.sub_step_events
        self.device = device
        self.num_learned = 0  # sub-steps: the next one's draws are those of this number
        self.weights = SequenceWeights(self.config, self.seed, device)
        self.counts = torch.zeros(0, dtype=torch.float64, device=device)  # events in the replay log per item
        self.states = torch.zeros((0, self.config.state_width), device=device)
        self.newest_items = np.full(0, NO_ROW, np.int32)  # per user: the item that his state is before
        self.replay = ReplayLog(self.config.replay_capacity_events)
        self.num_used_users = self.num_used_items = 0
        self._pending: _Reading | None = None

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        self.num_used_users = max(self.num_used_users, num_users)
        self.num_used_items = max(self.num_used_items, num_items)
        self.replay.grow(num_users)
        size = allocated_rows(num_users, len(self.states))
        if size > len(self.states):
            self.states = grow_table(self.states, size)
            self.newest_items = grow_array(self.newest_items, size, NO_ROW)
        self.weights.grow(num_items)
        size = allocated_rows(num_items, len(self.counts))
        if size > len(self.counts):
            self.counts = grow_table(self.counts, size)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the states of these users, and the embeddings and moments of these items.

        Whose newest item goes loses his state too: it has read the second newest, which is now to be read again.
        """
        self._count(self.replay.reset(user_rows, item_rows), -1.0)
        users = np.union1d(user_rows, np.flatnonzero(np.isin(self.newest_items, item_rows)))
        self.states[self._to(users)] = 0.0
        self.newest_items[users] = NO_ROW
        self.weights.reset(item_rows)

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logits of all items for the users of ``context`` now: ``[R, num_items]``."""
        with torch.no_grad():
            users = torch.from_numpy(context.user_rows).to(self.device)
            is_new = users >= len(self.states)
            states = self.states[users.masked_fill(is_new, 0)].masked_fill(is_new[:, None], 0.0)
            newest = runs_of_users(context, _NO_EVENTS, np.empty((len(users), 0), np.int64))
            queries, _ = self._read_by_means(newest, states)
            return self._logits(queries[:, 0], num_items)

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the logits just before each event of ``step``: ``[B, num_items]``; ``learn`` uses this pass."""
        self._pending = reading = self._read_events(step)
        return self._logits(reading.queries, num_items)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Take one step of Adam on the new and the replayed events, then move the users' states on."""
        pending, self._pending = self._pending, None
        reading = pending if pending is not None and pending.step is step else self._read_events(step)
        is_finite = True
        for again in range(num_steps(step.batch.effort, self.num_learned)):
            forward = self._forward(step, len(known), Salt.SEQUENCE_AGAIN if again else Salt.SEQUENCE)
            is_finite &= self._descend(forward, known, len(step.batch))
        self._advance(step, reading.hidden)
        self.num_learned += 1
        return is_finite

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {
            **copies(self._tables()),
            "weights": self.weights.state(),
            "replay": self.replay.state(),
            "num_learned": self.num_learned,
        }

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and items and the same widths; raises StateError if it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "weights", "replay", "num_learned"])
        parts.fill(tables)
        parts.give("weights", self.weights)
        parts.give("replay", self.replay)
        self.num_learned = parts.count("num_learned")
        self._pending = None

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity."""
        tables = [*self._tables().values(), self.replay.weights[: self.replay.num_held]]
        return are_finite(tables) and self.weights.is_finite()

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {
            "sequence.users": (self.num_used_users, len(self.states)),
            "sequence.items": (self.num_used_items, len(self.counts)),
            "sequence.replay_events": (self.replay.num_held, self.replay.capacity),
        }

    def _tables(self) -> dict[str, Table]:
        return {
            "counts": self.counts[: self.num_used_items],
            "states": self.states[: self.num_used_users],
            "newest_items": self.newest_items[: self.num_used_users],
        }

    def _forward(self, step: SubStep, num_items: int, salt: Salt = Salt.SEQUENCE) -> _Forward:
        config, rng = self.config, draws_of(self.seed, salt, self.num_learned)
        num_windows = config.replay_windows if replays(step.batch.effort) else 0
        windows = self.replay.draw(rng, num_windows, config.replay_context + config.replay_targets)
        replayed = runs_of_windows(windows)
        runs, states, own, ordinals = self._runs(step, replayed)
        places, at = window_targets(windows, config.replay_targets)
        targets = self._to(np.concatenate([step.batch.item_rows, windows.item_rows[places, at]]))
        weights = self._to(np.concatenate([step.batch.weights, windows.weights[places, at]]))
        item_rows = self._to(runs.item_rows)
        rows, drawn, uniform_ratio = self._taking_part(rng, num_items, item_rows, targets)
        taking_part: Tensor | slice = slice(num_items) if rows is None else rows
        items = self.weights.items[taking_part].detach().requires_grad_()
        bias = self.weights.bias[taking_part].detach().requires_grad_()
        queries, _ = self._read(self.weights.network, runs, _local(rows, item_rows), items, states)
        first = len(runs.item_rows) - num_windows
        asked = _asked(queries, np.concatenate([own, first + places]), np.concatenate([ordinals, at - 1]))
        logits = torch.addmm(bias, asked, items.T) if rows is None else None
        return _Forward(num_items, rows, items, bias, asked, targets, weights, drawn, uniform_ratio, logits)

    def _read_events(self, step: SubStep) -> _Reading:
        with torch.no_grad():
            runs, states, own, ordinals = self._runs(step)
            queries, hidden = self._read_by_means(runs, states)
            return _Reading(step, _asked(queries, own, ordinals), hidden)

    def _runs(self, step: SubStep, *more: Runs) -> tuple[Runs, Tensor, Int64, Int64]:
        """Return the runs of each user's new events, of what late ones may know, and those of ``more``.

        Returns:
            N runs; the states ``[N, H]`` that they begin with; run and column ``[B]`` of what each event may know.
        """
        num_read = int(step.ordinals.max(initial=0))
        late = np.flatnonzero(step.is_late)
        new, known = runs_of_users(step.before, step.batch, step.advancing[:, :num_read]), step.context.take(late)
        runs = stack_runs(new, runs_of_contexts(known), *more)
        num_from_zero = len(runs.item_rows) - len(step.users)
        states = functional.pad(self.states[self._to(step.users)], (0, 0, 0, num_from_zero))
        own, ordinals = step.groups.copy(), step.ordinals.copy()
        # The state of a late event's user has read what is newer than it, so it has a run of its own.
        own[late] = len(step.users) + np.arange(len(late))
        ordinals[late] = (known.lengths - 1).clip(min=0)
        return runs, states, own, ordinals

    def _read_by_means(self, runs: Runs, states: Tensor) -> tuple[Tensor, Tensor]:
        return self._read(self.weights.mean_network, runs, self._to(runs.item_rows), self.weights.mean_items, states)

    def _logits(self, queries: Tensor, num_items: int) -> Tensor:
        """Return the scores ``[n, num_items]`` that the means give to queries ``[n, D]``."""
        return torch.addmm(self.weights.mean_bias[:num_items], queries, self.weights.mean_items[:num_items].T)

    def _read(
        self, network: RecurrentNetwork, runs: Runs, item_rows: Tensor, items: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        inputs = network.inputs(items, item_rows, self._to(runs.event_types), self._to(runs.gaps))
        queries, hidden = network(inputs, states)
        return queries, hidden

    def _taking_part(
        self, rng: np.random.Generator, num_items: int, item_rows: Tensor, targets: Tensor
    ) -> tuple[Tensor | None, Tensor, float]:
        """Return the catalogue rows that the loss is on, the drawn ones and how many of these were uniform (ratio).

        Of a small catalogue all take part and none are drawn. Of a large one half are drawn from what was learned
        lately, but for what was reset since, and the others uniformly.
        """
        if num_items <= self.config.max_full_softmax_items:
            return None, torch.empty(0, dtype=torch.int64, device=self.device), 0.0
        num_popular = (self.config.num_negatives + 1) // 2
        popular = self.replay.draw(rng, num_popular, 1).item_rows[:, 0]
        popular = popular[popular != NO_ROW]
        uniform = rng.integers(0, num_items, self.config.num_negatives - len(popular))
        drawn = self._to(np.concatenate([uniform, popular]))
        rows = torch.unique(torch.cat([item_rows.clamp(min=0).flatten(), targets, drawn]))
        return rows, drawn, len(uniform) / len(drawn)

    def _loss(self, forward: _Forward, known: Tensor) -> Tensor:
        if forward.logits is not None:
            return full_logits_loss(forward.logits, forward.targets, forward.weights, known)
        drawn, targets = _local(forward.rows, forward.drawn), _local(forward.rows, forward.targets)
        # Selected and not indexed, for the sake of the order in which the gradients are added up.
        items, bias = forward.items.index_select(0, targets), forward.bias.index_select(0, targets)
        right = (forward.queries * items).sum(1) + bias
        items, bias = forward.items.index_select(0, drawn), forward.bias.index_select(0, drawn)
        others = torch.addmm(bias, forward.queries, items.T)
        others = others - torch.log(len(drawn) * self._shares(forward)[forward.drawn])
        is_target = forward.drawn[None, :] == forward.targets[:, None]
        others = others.masked_fill(is_target | ~known[forward.drawn], -torch.inf)
        return sampled_loss(torch.cat([right[:, None], others], 1), forward.weights, known[forward.targets])

    def _shares(self, forward: _Forward) -> Tensor:
        """Return how likely each draw was to be each item: ``[I]`` float32, summing to 1."""
        counts = self.counts[: forward.num_items]
        uniform = forward.uniform_ratio / forward.num_items
        return (uniform + (1.0 - forward.uniform_ratio) * counts / counts.sum().clamp(min=1.0)).to(torch.float32)

    def _descend(self, forward: _Forward, known: Tensor, num_events: int) -> bool:
        is_known = known if forward.rows is None else known[forward.rows]
        loss = self._loss(forward, known)
        # The fewer events a step is of, the more of its direction is chance: the square root rule of Malladi et al.,
        # NeurIPS 2022, arXiv:2205.10287.
        share = min(1.0, num_events / self.full_step_events) ** 0.5
        return self.weights.descend(loss, forward.items, forward.bias, forward.rows, is_known, share)

    def _advance(self, step: SubStep, hidden: Tensor) -> None:
        """Keep each moved user's state before his now newest event, and log the events for replay."""
        counts = (step.advancing >= 0).sum(axis=1)
        moved = np.flatnonzero(counts)
        users, new = self._to(step.users[moved]), hidden[self._to(moved), self._to(counts[moved] - 1)]
        self.states[users] = torch.where(torch.isfinite(new), new, self.states[users])  # no poison from a bad pass
        batch = step.batch
        self.newest_items[step.users[moved]] = batch.item_rows[step.advancing[moved, counts[moved] - 1]]
        events = np.sort(step.advancing[step.advancing >= 0])
        rows = batch.item_rows[events]
        times, weights = batch.times_ms[events], batch.weights[events]
        self._count(rows, 1.0)
        self._count(self.replay.add(batch.user_rows[events], rows, batch.event_types[events], times, weights), -1.0)

    def _count(self, item_rows: Int64, change: float) -> None:
        changes = torch.full((len(item_rows),), change, dtype=torch.float64, device=self.device)
        self.counts.index_add_(0, self._to(item_rows), changes)

    def _to(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _asked(queries: Tensor, runs: Int64, columns: Int64) -> Tensor:
    """Return the queries ``[P, D]`` of ``queries`` ``[N, T, D]`` at these runs and columns."""
    # Not queries[runs, columns]: with several threads torch adds up its gradient in whatever order they come.
    places = torch.from_numpy(runs * queries.shape[1] + columns).to(queries.device)
    return queries.flatten(0, 1).index_select(0, places)


def _local(rows: Tensor | None, wanted: Tensor) -> Tensor:
    """Return where ``wanted`` are among the sorted ``rows``; ``NO_ROW`` stays what it is."""
    if rows is None:
        return wanted
    return torch.where(wanted < 0, wanted, torch.searchsorted(rows, wanted))
