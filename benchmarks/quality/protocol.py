"""How models are compared: every event is ranked against all items known by a state that has not seen it, then learned.

One walk over the stream for any model. A ``Contestant`` ranks and learns; what its ranks are worth is the business of
``metrics.py``.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.quality.peers.peer import Int64, Peer, Questions
from benchmarks.quality.stream import Events, Stream
from online_models import NO_ROW, Batch, exact_topk
from online_models.evaluation.prequential import mid_ranks
from online_models.users.history import Context, Histories, SubStep
from online_models.users.owned_items import OwnedItems

__all__ = [
    "HISTORY_LENGTH",
    "K",
    "Float64",
    "SUB_STEP_EVENTS",
    "TORCH_THREADS",
    "Contestant",
    "Part",
    "PeerContestant",
    "Ranked",
    "Rules",
    "batch_of",
    "joined",
    "misses",
    "rank",
    "walk",
]

Float64 = npt.NDArray[np.float64]

SUB_STEP_EVENTS = 64
"""Events that are ranked by one state and then learned together."""
HISTORY_LENGTH = 50
"""L, events of a user that a peer is shown."""
K = 10
"""Length of the lists that coverage and popularity are taken from."""
TORCH_THREADS = 1
"""Of every model, as many as a worker has: more make the small tensors of a sub-step slower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a run promises; see ``described`` for the words."""

    batch: int = 256
    repeat: bool = False
    ties: str = "file"
    history: str = "fresh"
    leave_one_out: bool = False
    seed: int = 0

    def described(self) -> dict[str, Any]:
        """Return the rules and what they mean, for the header and the report."""
        if self.leave_one_out:
            order = (
                "leave one out: all events but each user's last are learned in one pass; then the last event of each "
                "user is ranked with the user's history up to it, and not learned"
            )
        elif self.history == "fresh":
            order = "each event is ranked by a state that has not seen it, then learned"
        else:
            order = "all events of a batch are ranked by the state from before the batch, then learned"
        return {
            **asdict(self),
            "sub_step_events": SUB_STEP_EVENTS,
            "history_length": HISTORY_LENGTH,
            "order": order,
            "candidates": "all items seen so far"
            + ("" if self.repeat else "; items the user already has are removed, and events on them not evaluated"),
            "unseen_targets": "a target never seen before is a miss (rank infinite)",
            "equal_scores": "the middle of the ranks that equal scores span",
            "ties_in_time": "events of equal ts in random order by the seed"
            if self.ties == "shuffle"
            else "events of equal ts in the order of the file",
            "history_used": "up to and with the user's previous event, also of the same batch"
            if self.history == "fresh" or self.leave_one_out
            else "as of before the batch",
            "parameters": f"learned in sub-steps of {SUB_STEP_EVENTS} events in order, by every model: an event sees "
            "those after the previous sub-step (stale: the previous batch; refitted models: the last refit)",
            "main_figures": "events of users with at least one earlier event; others are reported as cold_users",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """How some events of the stream were ranked."""

    places: Int64
    """``[E]`` int64 positions in the stream, ascending."""
    ranks: Float64
    """``[E]`` float64, 1-based, halves where scores are equal, infinite for a miss."""
    top_rows: Int64
    """``[E, K]`` int64, ``NO_ROW`` where the list is shorter."""


class Contestant(Protocol):
    """A model in the walk; it adds up the seconds that it spends on ranking and on learning."""

    rank_seconds: float
    learn_seconds: float

    def play(self, events: Events, start: int) -> Ranked:
        """Rank, then learn a batch of events, the first of which is number ``start``."""

    def learn(self, events: Events) -> None:
        """Learn events without a need of their ranks."""

    def ask(self, events: Events, places: Int64) -> Ranked:
        """Rank events, at ``places`` of the stream, by the state as it is; learn nothing."""


class Seen(Protocol):
    """Is told of every batch."""

    def __call__(self, num_done: int, item_rows: Int64, ranked: Ranked) -> None:
        """Take note that ``num_done`` events are done, of the items just learned, and of the ranks before that."""


def walk(stream: Stream, contestant: Contestant, rules: Rules, seen: Seen) -> None:
    """Take ``contestant`` through the stream; ``seen`` is told of every batch."""
    if rules.leave_one_out:
        _walk_but_last(stream, contestant, rules, seen)
        return
    for start in range(0, len(stream), rules.batch):
        events = stream.events.take(slice(start, start + rules.batch))
        ranked = contestant.play(events, start)
        seen(start + len(events), events.item_rows, ranked)


def _walk_but_last(stream: Stream, contestant: Contestant, rules: Rules, seen: Seen) -> None:
    taught, asked = np.flatnonzero(~stream.is_last), np.flatnonzero(stream.is_last)
    none = misses(np.empty(0, np.int64))
    for start in range(0, len(taught), rules.batch):
        events = stream.events.take(taught[start : start + rules.batch])
        contestant.learn(events)
        seen(start + len(events), events.item_rows, none)
    for start in range(0, len(asked), rules.batch):
        places = asked[start : start + rules.batch]
        ranked = contestant.ask(stream.events.take(places), places)
        seen(len(taught) + start + len(places), np.empty(0, np.int64), ranked)


def batch_of(events: Events, *, owns: bool) -> Batch:
    """Return ``events`` as the learner takes them: each is evidence for its item, of weight 1."""
    none = np.empty(0, np.int64)
    return Batch(
        user_rows=np.require(events.user_rows, requirements=("C", "W")),
        item_rows=np.require(events.item_rows, requirements=("C", "W")),
        event_types=np.require(events.event_types, requirements=("C", "W")),
        times_ms=np.require(events.times_ms, requirements=("C", "W")),
        weights=np.ones(len(events), np.float32),
        owns=np.full(len(events), owns),
        reset_user_rows=none,
        reset_item_rows=none,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which events a peer is asked about; it always learns all."""

    begins: float = 0.0
    """Share of the stream before the first event that is evaluated."""
    every: int = 1
    """Only each so manieth sub-step is evaluated."""


class PeerContestant:
    """Shows a peer what it may know, masks what may not be listed, and ranks its scores."""

    def __init__(self, peer: Peer, stream: Stream, rules: Rules, part: Part | None = None) -> None:
        self._peer, self._rules, self._part = peer, rules, part or Part()
        self._first_place = 0 if rules.leave_one_out else int(self._part.begins * len(stream))
        self._histories = Histories(HISTORY_LENGTH)
        self._histories.grow(stream.num_users)
        self._owned = OwnedItems(stream.num_items)
        self._owned.grow(stream.num_users)
        self._num_learned = np.zeros(stream.num_users, np.int64)
        self._num_known = self._num_asked = 0
        self.rank_seconds = self.learn_seconds = 0.0

    def play(self, events: Events, start: int) -> Ranked:
        """Rank each sub-step, then learn it; with stale histories rank the whole batch before any is learned."""
        places = start + np.arange(len(events))
        if self._rules.history == "stale":
            ranked = self.ask(events, places)
            self.learn(events)
            return ranked
        parts = []
        for part, where in _sub_steps(events, places):
            plan = self._plan(part)
            parts.append(self._ranked(part, where, plan.context, plan))
            self._learn(part, plan)
        return joined(parts)

    def learn(self, events: Events) -> None:
        """Learn, sub-step by sub-step."""
        for part, _ in _sub_steps(events, np.arange(len(events))):
            self._learn(part, self._plan(part))

    def ask(self, events: Events, places: Int64) -> Ranked:
        """Rank by histories and parameters as they are."""
        parts = []
        for part, where in _sub_steps(events, places):
            parts.append(self._ranked(part, where, self._histories.context(part.user_rows), None))
        return joined(parts)

    def _plan(self, part: Events) -> SubStep:
        return self._histories.plan(batch_of(part, owns=not self._rules.repeat))

    def _ranked(self, part: Events, places: Int64, context: Context, plan: SubStep | None) -> Ranked:
        """Rank one sub-step; with a ``plan``, what happened earlier in it is known of its users."""
        self._num_asked += 1
        if places[0] < self._first_place or self._num_asked % self._part.every:
            return misses(places[:0])
        rows = np.arange(len(part)) if self._rules.repeat else np.flatnonzero(~part.is_repeat)
        if not self._num_known:
            return misses(places[rows])
        begun = time.perf_counter()
        scores = torch.from_numpy(self._peer.score(self._questions(part, context, plan)))
        assert scores.shape == (len(part), self._num_known), f"expected a score per item known, got {scores.shape}"
        if not self._rules.repeat:
            scores = scores.masked_fill(self._owned_before(part, plan), -torch.inf)
        ranks, top_rows = rank(scores[torch.from_numpy(rows)], part.item_rows[rows])
        self.rank_seconds += time.perf_counter() - begun
        return Ranked(places=places[rows], ranks=ranks, top_rows=top_rows)

    def _learn(self, part: Events, plan: SubStep) -> None:
        asked = self._questions(part, plan.context, plan)
        self._num_known = max(self._num_known, int(part.item_rows.max()) + 1)
        begun = time.perf_counter()
        self._peer.learn(replace(asked, num_items=self._num_known), part.item_rows)
        self.learn_seconds += time.perf_counter() - begun
        self._histories.write(plan.after)
        self._owned.add(part.user_rows[~part.is_repeat], part.item_rows[~part.is_repeat])
        np.add.at(self._num_learned, part.user_rows, 1)

    def _questions(self, part: Events, context: Context, plan: SubStep | None) -> Questions:
        num_new = np.zeros(len(part), np.int64) if plan is None else plan.ordinals
        num_unknown = part.user_ordinals - self._num_learned[part.user_rows] - num_new  # more than 0 where stale
        return Questions(
            context=context,
            num_new=np.minimum(num_new, HISTORY_LENGTH),
            basket_sizes=np.clip(part.basket_sizes - num_unknown, 0, HISTORY_LENGTH),
            session_rows=part.session_rows,
            event_types=part.event_types,
            times_ms=part.times_ms,
            num_items=self._num_known,
        )

    def _owned_before(self, part: Events, plan: SubStep | None) -> Tensor:
        """Return what each event's user has, as far as it is known: ``[B, items known]`` bool."""
        owned = np.zeros((len(part), self._num_known), np.bool_)
        places, items = self._owned.pairs(part.user_rows)
        owned[places, items] = True
        if plan is not None:
            same_user = plan.groups[:, None] == plan.groups[None, :]
            later, earlier = np.nonzero(same_user & np.tri(len(part), k=-1, dtype=np.bool_))
            is_known = part.item_rows[earlier] < self._num_known
            owned[later[is_known], part.item_rows[earlier[is_known]]] = True
        return torch.from_numpy(owned)


def rank(scores: Tensor, targets: Int64) -> tuple[Float64, Int64]:
    """Return the mid-rank of each target, infinite where it is not among the columns, and the K best rows.

    Args:
        scores: ``[E, items known]`` float32, minus infinity for what may not be listed.
        targets: ``[E]`` int64.
    """
    is_known = targets < scores.shape[1]
    ranks: Float64 = mid_ranks(scores, torch.from_numpy(np.where(is_known, targets, 0))).numpy()
    ranks[~is_known] = np.inf
    return ranks, exact_topk(scores, K)[0].numpy()


def joined(parts: list[Ranked]) -> Ranked:
    """Return the parts as one."""
    return Ranked(
        places=np.concatenate([part.places for part in parts]),
        ranks=np.concatenate([part.ranks for part in parts]),
        top_rows=np.concatenate([part.top_rows for part in parts]),
    )


def misses(places: Int64) -> Ranked:
    """Return that nothing was listed at ``places``."""
    return Ranked(
        places=places, ranks=np.full(len(places), np.inf), top_rows=np.full((len(places), K), NO_ROW, np.int64)
    )


def _sub_steps(events: Events, places: Int64) -> Iterator[tuple[Events, Int64]]:
    for start in range(0, len(events), SUB_STEP_EVENTS):
        part = slice(start, start + SUB_STEP_EVENTS)
        yield events.take(part), places[part]
