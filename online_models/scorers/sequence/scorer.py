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
from online_models.config import LearnerConfig
from online_models.runtime.effort import num_steps, replays
from online_models.runtime.products import row_products
from online_models.runtime.seeds import Salt, draws_of
from online_models.scorers.protocol import Scorer
from online_models.scorers.sequence.encoder import Read, Reader, local_rows
from online_models.scorers.sequence.losses import full_logits_loss, sampled_loss
from online_models.scorers.sequence.packed_histories import (
    Lookback,
    Runs,
    lookback_of_context,
    lookback_of_windows,
    runs_of_contexts,
    runs_of_users,
    runs_of_windows,
    stack_lookbacks,
    stack_runs,
    window_targets,
)
from online_models.scorers.sequence.replay_buffer import ReplayLog
from online_models.scorers.sequence.user_states import UserStates
from online_models.scorers.sequence.weights import SequenceWeights
from online_models.scores import Candidates, Scores
from online_models.tables.state_tree import State
from online_models.tables.table_set import Axis, Rows
from online_models.users.history import Context, SubStep

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
    states: Tensor  # [G, H] of the users, before their newest events
    read: Read
    queries: Tensor  # [B, D]


class SequenceScorer(Scorer):
    """Item embeddings shared by input and output, a recurrent state per user, replay against forgetting."""

    def __init__(self, config: LearnerConfig, device: torch.device) -> None:
        super().__init__(device)
        self.config = config.sequence
        self.seed = config.seed
        self.full_step_events = config.sub_step_events
        self.num_learned = self.counter("num_learned")  # sub-steps: the next one's draws are those of this number
        self.num_events = self.counter("num_events")  # of these: the clock by which states grow old
        # Events in the replay log per item.
        self.counts = self.tensor("counts", Rows(Axis.ITEMS), (), torch.float64)
        states = UserStates(self.config.state_width, self.config.state_events, device)
        self.states = self.part("states", states)
        self.weights = self.part("weights", SequenceWeights(self.config, self.seed, device))
        self.replay = self.part("replay", ReplayLog(self.config.replay_capacity_events))
        self._pending: _Reading | None = None

    def grow(self, num_users: int, num_items: int = 0) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        super().grow(num_users, num_items)
        self.replay.grow(num_users)

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the states and past events of these users, and all that is known of these items."""
        self._count(self.replay.reset(user_rows, item_rows), -1.0)
        super().reset(user_rows, item_rows)

    def load(self, state: State) -> None:
        """Take ``state`` over, as every owner of tables does, without what was read of events not learned yet."""
        super().load(state)
        self._pending = None

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) rows by the name of their axis, and events of the replay log."""
        return {**super().sizes(), "replay_events": (self.replay.num_held, self.replay.capacity)}

    def score(self, context: Context, candidates: Candidates) -> Scores:
        """Return the logits of all items for the users of ``context`` now."""
        with torch.no_grad():
            newest = runs_of_users(context, _NO_EVENTS, np.empty((len(context.user_rows), 0), np.int64))
            means = self._means()
            read = means.read(newest.packed(), self._states_before_newest(context))
            runs = np.arange(len(context.user_rows))
            return self._logits(means.ask(read, runs, np.zeros_like(runs), self._lookback(context)), candidates)

    def score_events(self, step: SubStep, candidates: Candidates) -> Scores:
        """Return the logits just before each event of ``step``; ``learn`` uses this pass."""
        self._pending = reading = self._read_events(step)
        return self._logits(reading.queries, candidates)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Take one step of Adam on the new and the replayed events, then move the users' states on."""
        pending, self._pending = self._pending, None
        reading = pending if pending is not None and pending.step is step else self._read_events(step)
        is_finite = True
        for again in range(num_steps(step.batch.effort, self.num_learned)):
            salt = Salt.SEQUENCE_AGAIN if again else Salt.SEQUENCE
            forward = self._forward(step, reading.states, len(known), salt)
            is_finite &= self._descend(forward, known, len(step.batch))
        self._advance(step, reading)
        self.num_learned += 1
        self.num_events += len(step.batch)
        return is_finite

    def _forward(self, step: SubStep, user_states: Tensor, num_items: int, salt: Salt) -> _Forward:
        config, rng = self.config, draws_of(self.seed, salt, self.num_learned)
        num_windows = config.replay_windows if replays(step.batch.effort) else 0
        windows = self.replay.draw(rng, num_windows, config.replay_context + config.replay_targets)
        runs, states, own, ordinals = self._runs(step, user_states, runs_of_windows(windows))
        packed, first = runs.packed(), len(runs.item_rows) - num_windows
        places, at = window_targets(windows, config.replay_targets)
        targets = self.to(np.concatenate([step.batch.item_rows, windows.item_rows[places, at]]))
        replay_weights = windows.weights[places, at] * np.float32(config.replay_weight)
        weights = self.to(np.concatenate([step.batch.weights, replay_weights]))
        replayed = lookback_of_windows(windows, places, at, config.attention_items)
        lookback = stack_lookbacks(self._lookback(step.context), replayed)
        held = np.concatenate([packed.item_rows, lookback.item_rows.ravel()])
        rows, drawn, uniform_ratio = self._taking_part(rng, num_items, self.to(held), targets)
        taking_part: Tensor | slice = slice(num_items) if rows is None else rows
        items = self.weights.items[taking_part].detach().requires_grad_()
        bias = self.weights.bias[taking_part].detach().requires_grad_()
        reader = Reader(self.weights.network, items, rows)
        asked, columns = np.concatenate([own, first + places]), np.concatenate([ordinals, at - 1])
        queries = reader.ask(reader.read(packed, states), asked, columns, lookback)
        logits = torch.addmm(bias, queries, items.T) if rows is None else None
        return _Forward(num_items, rows, items, bias, queries, targets, weights, drawn, uniform_ratio, logits)

    def _read_events(self, step: SubStep) -> _Reading:
        with torch.no_grad():
            user_states = self._states_before_newest(step.before)
            runs, states, own, ordinals = self._runs(step, user_states)
            means = self._means()
            read = means.read(runs.packed(), states)
            queries = means.ask(read, own, ordinals, self._lookback(step.context))
            return _Reading(step, user_states, read, queries)

    def _runs(self, step: SubStep, user_states: Tensor, *more: Runs) -> tuple[Runs, Tensor, Int64, Int64]:
        """Return the runs of each user's new events, of what late ones may know, and those of ``more``.

        Returns:
            N runs; the states ``[N, H]`` that they begin with; run and column ``[B]`` of what each event may know.
        """
        num_read = int(step.ordinals.max(initial=0))
        late = np.flatnonzero(step.is_late)
        new, known = runs_of_users(step.before, step.batch, step.advancing[:, :num_read]), step.context.take(late)
        runs = stack_runs(new, runs_of_contexts(known), *more)
        num_from_zero = len(runs.item_rows) - len(step.users)
        states = functional.pad(user_states, (0, 0, 0, num_from_zero))
        own, ordinals = step.groups.copy(), step.ordinals.copy()
        # The state of a late event's user has read what is newer than it, so it has a run of its own.
        own[late] = len(step.users) + np.arange(len(late))
        ordinals[late] = (known.lengths - 1).clip(min=0)
        return runs, states, own, ordinals

    def _states_before_newest(self, context: Context) -> Tensor:
        return self.states.before_newest(context, self.num_events, self._read_again)

    def _read_again(self, context: Context) -> Tensor:
        """Return the states ``[R, H]`` before the newest event of these histories, from what they hold before it."""
        with torch.no_grad():
            from_zero = torch.zeros((len(context.user_rows), self.config.state_width), device=self.device)
            read = self._means().read(runs_of_contexts(context).packed(), from_zero)
            return read.hidden[self.to(read.places[np.arange(len(from_zero)), context.lengths - 2])]

    def _means(self) -> Reader:
        return Reader(self.weights.mean_network, self.weights.mean_items)

    def _lookback(self, context: Context) -> Lookback:
        return lookback_of_context(context, self.config.attention_items)

    def _logits(self, queries: Tensor, candidates: Candidates) -> Scores:
        """Return the scores that the means give to queries ``[n, D]``."""
        items = slice(candidates.num_items)
        logits = row_products(self.weights.mean_bias[items], queries, self.weights.mean_items[items])
        return Scores(len(queries), dense=logits)

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
        drawn = self.to(np.concatenate([uniform, popular]))
        rows = torch.unique(torch.cat([item_rows.clamp(min=0).flatten(), targets, drawn]))
        return rows, drawn, len(uniform) / len(drawn)

    def _loss(self, forward: _Forward, known: Tensor) -> Tensor:
        if forward.logits is not None:
            return full_logits_loss(forward.logits, forward.targets, forward.weights, known)
        drawn, targets = local_rows(forward.rows, forward.drawn), local_rows(forward.rows, forward.targets)
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

    def _advance(self, step: SubStep, reading: _Reading) -> None:
        """Keep each moved user's state before his now newest event, and log the events for replay."""
        counts = (step.advancing >= 0).sum(axis=1)
        moved = np.flatnonzero(counts)
        batch, read = step.batch, reading.read
        new = read.hidden[self.to(read.places[moved, counts[moved] - 1])]
        newest_items = batch.item_rows[step.advancing[moved, counts[moved] - 1]]
        self.states.move(step.users[moved], new, newest_items, self.num_events)
        events = np.sort(step.advancing[step.advancing >= 0])
        rows = batch.item_rows[events]
        times, weights = batch.times_ms[events], batch.weights[events]
        self._count(rows, 1.0)
        self._count(self.replay.add(batch.user_rows[events], rows, batch.event_types[events], times, weights), -1.0)

    def _count(self, item_rows: Int64, change: float) -> None:
        changes = torch.full((len(item_rows),), change, dtype=torch.float64, device=self.device)
        self.counts.index_add_(0, self.to(item_rows), changes)
