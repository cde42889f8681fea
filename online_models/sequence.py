"""The default scorer: a recurrent network that reads each user's events and is learned as they come.

The state kept per user is the one *before* his newest event, which is read again with the weights of the
moment whenever he is scored: so each step also teaches the network how to read it.
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
from online_models.optimizers import Adam, clip_factor
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
from online_models.softmax import full_logits_loss, sampled_loss
from online_models.state import State
from online_models.tables import allocated_rows, fresh_rows, grow_array, grow_table

__all__ = ["SequenceScorer"]

Int64 = npt.NDArray[np.int64]
_INIT_SCALE = 0.05
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
    """One pass over the new events of a sub-step, what its late ones may know, and the replayed windows."""

    step: SubStep
    num_items: int
    rows: Tensor | None  # [m] catalogue rows that take part, sorted; None: all of them
    items: Tensor  # [m, D] leaf
    bias: Tensor  # [m] leaf
    queries: Tensor  # [P, D]: of the B events, then of the replayed ones
    targets: Tensor  # [P] catalogue rows
    weights: Tensor  # [P]
    drawn: Tensor  # [N] catalogue rows, none where all items take part
    uniform_ratio: float  # of the drawn
    hidden: Tensor  # [runs, T, H]
    logits: Tensor | None  # [P, I] where all items take part


class SequenceScorer:
    """Item embeddings shared by input and output, a recurrent state per user, replay against forgetting."""

    def __init__(self, config: LearnerConfig, device: torch.device) -> None:
        self.config = config.sequence
        self.seed = config.seed
        self.device = device
        self.num_learned = 0  # sub-steps: the next one's draws are those of this number
        generator = torch.Generator().manual_seed(config.seed)
        self.network = RecurrentNetwork(self.config.width, self.config.state_width, generator).to(device)
        self.items = torch.zeros((0, self.config.width), device=device)
        self.bias = torch.zeros(0, device=device)
        self.counts = torch.zeros(0, dtype=torch.float64, device=device)  # events in the replay log per item
        self.states = torch.zeros((0, self.config.state_width), device=device)
        self.newest_items = np.full(0, NO_ROW, np.int32)  # per user: the item that his state is before
        self.replay = ReplayLog(self.config.replay_capacity_events)
        self.adam = Adam(self.config.learning_rate)
        for name, parameter in self.network.named_parameters():
            self.adam.add(name, parameter.detach())
        self.num_used_users = self.num_used_items = 0
        self._pending: _Forward | None = None

    def grow(self, num_users: int, num_items: int) -> None:
        """Make room for rows up to ``num_users - 1`` and ``num_items - 1``."""
        self.num_used_users = max(self.num_used_users, num_users)
        self.num_used_items = max(self.num_used_items, num_items)
        self.replay.grow(num_users)
        size = allocated_rows(num_users, len(self.states))
        if size > len(self.states):
            self.states = grow_table(self.states, size)
            self.newest_items = grow_array(self.newest_items, size, NO_ROW)
        old = len(self.items)
        size = allocated_rows(num_items, old)
        if size > old:
            self.items, self.bias = grow_table(self.items, size), grow_table(self.bias, size)
            self.counts = grow_table(self.counts, size)
            self.adam.add("items", self.items)
            self.adam.add("bias", self.bias)
            self.items[old:] = self._fresh(np.arange(old, size))

    def reset(self, user_rows: Int64, item_rows: Int64) -> None:
        """Forget the states of these users, and the embeddings and moments of these items.

        Whose newest item goes loses his state too: it has read the second newest, which is now to be read again.
        """
        self._count(self.replay.reset(user_rows, item_rows), -1.0)
        users = np.union1d(user_rows, np.flatnonzero(np.isin(self.newest_items, item_rows)))
        self.states[self._to(users)] = 0.0
        self.newest_items[users] = NO_ROW
        rows = torch.from_numpy(item_rows).to(self.device)
        if len(item_rows):
            self.items[rows], self.bias[rows] = self._fresh(item_rows), 0.0
            self.adam.reset("items", rows)
            self.adam.reset("bias", rows)

    def score(self, context: Context, num_items: int) -> Tensor:
        """Return the logits of all items for the users of ``context`` now: ``[R, num_items]``."""
        with torch.no_grad():
            users = torch.from_numpy(context.user_rows).to(self.device)
            is_new = users >= len(self.states)
            states = self.states[users.masked_fill(is_new, 0)].masked_fill(is_new[:, None], 0.0)
            newest = runs_of_users(context, _NO_EVENTS, np.empty((len(users), 0), np.int64))
            queries, _ = self._read(newest, self._to(newest.item_rows), self.items, states)
            return torch.addmm(self.bias[:num_items], queries[:, 0], self.items[:num_items].T)

    def score_events(self, step: SubStep, num_items: int) -> Tensor:
        """Return the logits just before each event of ``step``: ``[B, num_items]``; ``learn`` uses this pass."""
        self._pending = forward = self._forward(step, num_items)
        if forward.logits is not None:
            return forward.logits[: len(step.batch)].detach()
        queries = forward.queries[: len(step.batch)].detach()
        return torch.addmm(self.bias[:num_items], queries, self.items[:num_items].T)

    def learn(self, step: SubStep, known: Tensor) -> bool:
        """Take one step of Adam on the new and the replayed events, then move the users' states on."""
        pending, self._pending = self._pending, None
        forward = pending if pending is not None and pending.step is step else self._forward(step, len(known))
        is_finite = True
        for again in range(num_steps(step.batch.effort, self.num_learned)):
            part = self._forward(step, len(known), Salt.SEQUENCE_AGAIN) if again else forward
            is_finite &= self._descend(part, known)
        self._advance(step, forward.hidden.detach())
        self.num_learned += 1
        return is_finite

    def state(self) -> State:
        """Return a copy of everything learned."""
        return {
            **copies(self._tables()),
            "network": self.network.state(),
            "adam": self.adam.state(self._num_moments()),
            "replay": self.replay.state(),
            "num_learned": self.num_learned,
        }

    def load(self, state: State) -> None:
        """Take ``state`` over, of as many users and items and the same widths; raises StateError if it does not fit."""
        tables = self._tables()
        parts = Parts(state, [*tables, "network", "adam", "replay", "num_learned"])
        parts.fill(tables)
        parts.give("network", self.network)
        with parts.below("adam") as moments:
            self.adam.load(moments, self._num_moments())
        parts.give("replay", self.replay)
        self.num_learned = parts.count("num_learned")
        self._pending = None

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity."""
        tables = [*self._tables().values(), self.replay.weights[: self.replay.num_held]]
        return are_finite(tables) and self.network.is_finite() and self.adam.is_finite()

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries by name."""
        return {
            "sequence.users": (self.num_used_users, len(self.states)),
            "sequence.items": (self.num_used_items, len(self.items)),
            "sequence.replay_events": (self.replay.num_held, self.replay.capacity),
        }

    def _tables(self) -> dict[str, Table]:
        return {
            "items": self.items[: self.num_used_items],
            "bias": self.bias[: self.num_used_items],
            "counts": self.counts[: self.num_used_items],
            "states": self.states[: self.num_used_users],
            "newest_items": self.newest_items[: self.num_used_users],
        }

    def _num_moments(self) -> dict[str, int]:
        return {"items": self.num_used_items, "bias": self.num_used_items}

    def _fresh(self, rows: Int64) -> Tensor:
        return torch.from_numpy(fresh_rows(self.seed, rows, self.config.width, _INIT_SCALE)).to(self.device)

    def _forward(self, step: SubStep, num_items: int, salt: Salt = Salt.SEQUENCE) -> _Forward:
        config, rng = self.config, draws_of(self.seed, salt, self.num_learned)
        num_windows = config.replay_windows if replays(step.batch.effort) else 0
        windows = self.replay.draw(rng, num_windows, config.replay_context + config.replay_targets)
        num_read = int(step.ordinals.max(initial=0))
        late = np.flatnonzero(step.is_late)
        runs = stack_runs(
            runs_of_users(step.before, step.batch, step.advancing[:, :num_read]),
            runs_of_windows(windows),
            runs_of_contexts(step.context.take(late)),
        )
        places, at = window_targets(windows, config.replay_targets)
        targets = self._to(np.concatenate([step.batch.item_rows, windows.item_rows[places, at]]))
        weights = self._to(np.concatenate([step.batch.weights, windows.weights[places, at]]))
        item_rows = self._to(runs.item_rows)
        rows, drawn, uniform_ratio = self._taking_part(rng, num_items, item_rows, targets)
        items = (self.items[:num_items] if rows is None else self.items[rows]).detach().requires_grad_()
        bias = (self.bias[:num_items] if rows is None else self.bias[rows]).detach().requires_grad_()
        num_from_zero = num_windows + len(late)
        states = functional.pad(self.states[self._to(step.users)], (0, 0, 0, num_from_zero))
        queries, hidden = self._read(runs, _local(rows, item_rows), items, states)
        own, ordinals = step.groups.copy(), step.ordinals.copy()
        # The state of a late event's user has read what is newer than it, so it has a run of its own.
        own[late] = len(step.users) + num_windows + np.arange(len(late))
        ordinals[late] = (step.context.lengths[late] - 1).clip(min=0)
        who = self._to(np.concatenate([own, len(step.users) + places]))
        when = self._to(np.concatenate([ordinals, at - 1]))
        # Not queries[who, when]: with several threads torch adds up its gradient in whatever order they come.
        asked = queries.flatten(0, 1).index_select(0, who * queries.shape[1] + when)
        logits = torch.addmm(bias, asked, items.T) if rows is None else None
        questions = (asked, targets, weights)
        return _Forward(step, num_items, rows, items, bias, *questions, drawn, uniform_ratio, hidden, logits)

    def _read(self, runs: Runs, item_rows: Tensor, items: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.network.inputs(items, item_rows, self._to(runs.event_types), self._to(runs.gaps))
        queries, hidden = self.network(inputs, states)
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

    def _descend(self, forward: _Forward, known: Tensor) -> bool:
        loss = self._loss(forward, known)
        leaves = {"items": forward.items, "bias": forward.bias, **dict(self.network.named_parameters())}
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        factor = clip_factor(list(found), self.config.clip_norm)
        if not bool(torch.isfinite(factor) & torch.isfinite(loss)):
            return False
        self.adam.begin()
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
            table = getattr(self, name) if name in ("items", "bias") else leaf.detach()
            self.adam.update(name, table, gradient * factor, forward.rows if name in ("items", "bias") else None)
        return True

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


def _local(rows: Tensor | None, wanted: Tensor) -> Tensor:
    """Return where ``wanted`` are among the sorted ``rows``; ``NO_ROW`` stays what it is."""
    if rows is None:
        return wanted
    return torch.where(wanted < 0, wanted, torch.searchsorted(rows, wanted))
