"""The learner: scores every event before it learns it, and ranks the catalogue for any user at any time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from online_models.batch import NO_ROW, Batch, TopK
from online_models.config import LearnerConfig
from online_models.errors import ShapeError
from online_models.evaluation.prequential import Evaluated, StepReport, join_evaluated, misses
from online_models.ranking.alone import rank_alone
from online_models.ranking.explanation import Explanation
from online_models.ranking.ranker import Answer, Lesson, Query, Ranker
from online_models.runtime.device import memory_bytes, resolve_device
from online_models.runtime.products import FEWEST_ROWS
from online_models.runtime.side_thread import Lane, Task
from online_models.scorers.item_neighbours import ItemNeighbours
from online_models.scorers.popularity import Popularity
from online_models.scorers.registry import BASELINES, CHANNELS, RERANKED, make_scorers
from online_models.scores import Candidates, Scores
from online_models.tables.growing import count_up
from online_models.tables.select import are_in, different
from online_models.tables.state_reader import StateReader
from online_models.tables.state_tree import State
from online_models.users.history import Histories, SubStep
from online_models.users.owned_items import OwnedItems

__all__ = ["OnlineLearner"]

Int64 = npt.NDArray[np.int64]

MAX_WEIGHT = 1000.0
"""No event is worth more, for or against its item: one absurd weight must not outweigh all others."""
_RANK_BLOCK_CELLS = 1 << 22
"""Users times items ranked together: bounds the scratch memory on large catalogues."""


def _no_clock() -> float:
    return 0.0


class OnlineLearner:
    """All state of the model; ``step`` alone changes it, but for ``load``, which makes a new learner an old one."""

    def __init__(self, config: LearnerConfig, clock: Callable[[], float] = _no_clock) -> None:
        """Make an empty learner.

        Args:
            config: settings; see ``LearnerConfig``.
            clock: seconds on any monotonic clock, for the two durations of the report and nothing else.

        Raises:
            ConfigError: unknown scorer, or a device that is not there.
        """
        self.config = config
        self._clock = clock
        self._device = resolve_device(config.device, deterministic=config.deterministic)
        self._scorers = make_scorers(config, self._device)
        self._channels = CHANNELS[config.scorer]
        self._ranker = Ranker(config, self._channels, self._device, rerank=config.scorer in RERANKED)
        self._histories = Histories(config.history_length)
        self._owned = OwnedItems(config.owned_capacity)
        # A GPU is not fed faster by two threads: they would wait for each other at every launch.
        self._lane = Lane(self._device.type == "cpu")
        self._num_users = self._num_items = 0
        self._grow(1, 1)  # so that lists can be asked for, and be empty, before the first event

    @property
    def device(self) -> str:
        """Where the tables are: ``cpu`` or ``cuda``."""
        return str(self._device)

    def step(self, batch: Batch) -> StepReport:
        """Evaluate and then learn the events of ``batch`` in order, ``sub_step_events`` at a time.

        Every event is scored by a state that has not seen it or any event after it; its history holds
        every event of its user before it, also of the same batch.
        """
        self._reset(batch.reset_user_rows, batch.reset_item_rows)
        batch = replace(batch, weights=batch.weights.clip(-MAX_WEIGHT, MAX_WEIGHT))
        parts: list[Evaluated] = []
        counts, seconds = np.zeros(3, np.int64), np.zeros(2)
        for start in range(0, len(batch), self.config.sub_step_events):
            part = batch.part(start, start + self.config.sub_step_events)
            placed = np.flatnonzero(part.item_rows != NO_ROW)
            missed = np.flatnonzero((part.item_rows == NO_ROW) & (part.weights > 0))
            if len(missed):
                names, k = ("model", *BASELINES), self.config.k
                parts.append(misses(missed + start, self._ranker.num_known, names, k))
            if not len(placed):
                continue
            part = part if len(placed) == len(part) else part.take(placed)
            evaluated, part_counts, part_seconds = self._sub_step(part)
            counts += part_counts
            seconds += part_seconds
            parts.append(replace(evaluated, events=placed[evaluated.events] + start))
        joined = join_evaluated(parts, ("model", *BASELINES), self.config.k)
        num_late, num_repeats, num_skipped = counts.tolist()
        return StepReport(
            num_events=len(batch),
            num_learned=int(((batch.weights != 0) & (batch.item_rows != NO_ROW)).sum()),
            num_late=num_late,
            num_repeats=num_repeats,
            num_evaluated=len(joined.events),
            num_nonfinite_steps=num_skipped,
            num_items_known=self._ranker.num_known,
            evaluated=joined.events,
            loss_nats=joined.loss_nats,
            ranks=joined.ranks,
            top_rows=joined.top_rows,
            evaluate_seconds=float(seconds[0]),
            learn_seconds=float(seconds[1]),
        )

    def rank(self, user_rows: Int64, k: int) -> TopK:
        """Return the ``k`` best items of each user now, from everything learned so far; changes nothing.

        Args:
            user_rows: ``[R]`` int64; a user never seen gets the list for a user without history.
            k: K, at least 1; lists are shorter (``NO_ROW``) where the catalogue is.

        Raises:
            ShapeError: a row is below 0.
        """
        if len(user_rows) and user_rows.min() < 0:
            raise ShapeError(f"user_rows: expected values >= 0, got {user_rows.min()}")
        block = max(1, _RANK_BLOCK_CELLS // max(self._num_items, 1))
        parts = [self._lists(user_rows[at : at + block], k)[1] for at in range(0, len(user_rows), block)]
        shape = (0, k)
        return TopK(
            user_rows=user_rows,
            item_rows=np.concatenate([np.empty(shape, np.int64), *(part.item_rows for part in parts)]),
            scores=np.concatenate([np.empty(shape, np.float32), *(part.scores for part in parts)]),
            reasons=np.concatenate([np.empty(shape, np.int64), *(part.reasons for part in parts)]),
        )

    def explain(self, user_row: int, k: int) -> Explanation:
        """Return the list that ``rank`` gives one user now, and what each channel adds to its places; changes nothing.

        Raises:
            ShapeError: the row is below 0.
        """
        if user_row < 0:
            raise ShapeError(f"user_row: expected a value >= 0, got {user_row}")
        answer, top = self._lists(np.array([user_row], np.int64), k)
        return self._ranker.explain(answer, top)

    def state(self) -> State:
        """Return a copy of everything that later steps and lists depend on, besides the settings."""
        return {
            **self._ranker.state(),
            "scorer": self.config.scorer,
            "seed": self.config.seed,
            "histories": self._histories.state(),
            "owned": self._owned.state(),
            "scorers": {name: scorer.state() for name, scorer in self._scorers.items()},
        }

    def load(self, state: State) -> None:
        """Take over what ``state`` returned; from now on reports, lists and states are bit for bit as they were there.

        This learner has just been made, with the same settings. Bits are those of the same device, version of torch
        and number of torch threads.

        Raises:
            StateError: the state is of a learner with another scorer, seed, width, length or capacity, or is none; the
                message begins with the path of the part. This learner is of no more use.
        """
        parts = StateReader(state, [*self._ranker.names(), "scorer", "seed", "histories", "owned", "scorers"])
        parts.expect("scorer", self.config.scorer)
        parts.expect("seed", self.config.seed)
        parts.give("histories", self._histories)
        self._grow(self._histories.num_users, len(parts.array("known", np.bool_, (None,))))
        self._ranker.read(parts)
        parts.give("owned", self._owned)
        with parts.below("scorers") as states:
            scorer_parts = StateReader(states, self._scorers)
            for name, scorer in self._scorers.items():
                scorer_parts.give(name, scorer)

    def is_finite(self) -> bool:
        """Return whether no table holds NaN or infinity; tables stay on their device."""
        return self._ranker.is_finite() and all(scorer.is_finite() for scorer in self._scorers.values())

    def history(self, user_row: int) -> Int64:
        """Return the remembered item rows of one user, newest first."""
        items = self._histories.context(np.array([user_row])).item_rows[0]
        held: Int64 = items[items != NO_ROW]
        return held

    def newest_times_ms(self, user_rows: Int64) -> Int64:
        """Return the time of the newest event in each user's history, ``[R]`` int64; 0 where there is none."""
        context = self._histories.context(user_rows)
        newest: Int64 = np.where(context.item_rows[:, 0] != NO_ROW, context.times_ms[:, 0], 0)
        return newest

    def table_sizes(self) -> dict[str, tuple[int, int]]:
        """Return (used, allocated) entries of everything that grows, by name."""
        sizes = {
            "histories.users": (self._num_users, len(self._histories.item_rows)),
            "owned.places": (self._owned.num_pooled, len(self._owned.pool)),
        }
        for name, scorer in self._scorers.items():
            sizes.update({f"{name}.{rows}": size for rows, size in scorer.sizes().items()})
        return sizes

    def popularity(self, item_rows: Int64) -> npt.NDArray[np.float64]:
        """Return the share of each item in the recent events, as the baseline popularity counts them.

        Args:
            item_rows: int64 rows of known items, of any shape.

        Returns:
            float64 in 0..1 and above 0, of the same shape.
        """
        popularity = self._scorers["popularity"]
        assert isinstance(popularity, Popularity), f"baseline popularity is a {type(popularity).__name__}"
        return popularity.shares(item_rows)

    def memory_bytes(self) -> dict[str, int]:
        """Return the GPU memory: allocated by tensors, reserved for them, total of the device; 0 each on the CPU."""
        return memory_bytes(self._device)

    def fusion_weights(self) -> dict[str, float]:
        """Return the mean trust in each channel."""
        return self._ranker.mean_weights()

    def _sub_step(self, part: Batch) -> tuple[Evaluated, tuple[int, int, int], tuple[float, float]]:
        """Evaluate, then learn; return how late, repeated and skipped ones were counted, and both durations."""
        begun = self._clock()
        self._grow(int(part.user_rows.max()) + 1, int(part.item_rows.max()) + 1)
        step = self._histories.plan(part)
        owned = self._owned_before(step)
        has_already = are_in(np.arange(len(part)) * self._num_items + part.item_rows, owned)
        is_positive = part.weights > 0
        scoring, learning = self._begin(step)
        try:
            scores = {name: task.result() for name, task in reversed(scoring.items())}
            evaluated, lesson = self._evaluate(step, scores, owned, np.flatnonzero(is_positive & ~has_already))
            scored = self._clock()
            num_skipped = self._learn(step, has_already, lesson, learning)
        finally:
            self._lane.finish()
        counts = (int(step.is_late.sum()), int((is_positive & has_already).sum()), num_skipped)
        return evaluated, counts, (scored - begun, self._clock() - scored)

    def _reset(self, user_rows: Int64, item_rows: Int64) -> None:
        # What lies beyond the tables was never used, so there is nothing to forget.
        users = np.unique(user_rows[user_rows < self._num_users])
        items = np.unique(item_rows[item_rows < self._num_items])
        if not len(users) and not len(items):
            return
        self._histories.reset(users, items)
        self._owned.reset(users, items)
        self._ranker.reset(users, items)
        for scorer in self._scorers.values():
            scorer.reset(users, items)

    def _grow(self, num_users: int, num_items: int) -> None:
        num_users, num_items = max(self._num_users, num_users), max(self._num_items, num_items)
        self._histories.grow(num_users)
        self._owned.grow(num_users)
        self._ranker.grow(num_users, num_items)
        for scorer in self._scorers.values():
            scorer.grow(num_users, num_items)
        self._num_users, self._num_items = num_users, num_items  # last: a growth that failed is tried again

    def _begin(self, step: SubStep) -> tuple[dict[str, Task[Scores]], list[Task[bool]]]:
        """Have every scorer say how it scores each event, and then learn them all, by itself.

        What the first one does takes longest, so the second thread begins with both of its pieces.
        """
        known = self._ranker.known[: self._num_items].clone()
        known[self._to(step.batch.item_rows[step.batch.weights > 0])] = True
        candidates = Candidates.all(self._num_items)
        scoring = {name: Task(partial(scorer.score_events, step, candidates)) for name, scorer in self._scorers.items()}
        learning = [
            Task(partial(scorer.learn, step, known), after=scoring[name]) for name, scorer in self._scorers.items()
        ]
        first, *others = scoring.values()
        self._lane.begin([first, learning[0], *others, *learning[1:]])
        return scoring, learning

    def _evaluate(
        self, step: SubStep, scores: dict[str, Scores], owned: Int64, events: Int64
    ) -> tuple[Evaluated, Lesson]:
        """Rank the items of ``events`` by what was said of them; return that and what the mixture learns from it."""
        if len(events) < len(step.batch):
            scores = {name: table.take(self._to(events)) for name, table in scores.items()}
        targets = self._to(step.batch.item_rows[events])
        places, items = np.divmod(owned, self._num_items)
        numbers = np.full(len(step.batch), NO_ROW)
        numbers[events] = np.arange(len(events))
        held = numbers[places]  # the events are in order, so what is left is, too
        kept = held != NO_ROW
        pairs = self._to(held[kept] * self._num_items + items[kept])
        query = Query(step.context.take(events), scores, pairs, self.config.k, targets)
        answer = self._ranker.ask(query)
        ranks, tops = {"model": answer.ranks(targets)}, {"model": answer.best()[0]}
        for name in BASELINES:
            ranks[name], tops[name] = rank_alone(scores[name], self._ranker.listable(query), targets, self.config.k)
        known = self._ranker.known[: self._num_items]
        is_known = known[targets]
        losses, uniform = answer.losses(targets), torch.log(known.sum() + 1.0).double()
        losses = torch.where(is_known & torch.isfinite(losses), losses.double(), uniform)
        evaluated = Evaluated(
            events=events,
            loss_nats=losses.cpu().numpy(),
            ranks={name: rank.masked_fill_(~is_known, torch.inf).cpu().numpy() for name, rank in ranks.items()},
            top_rows={name: top.cpu().numpy() for name, top in tops.items()},
        )
        return evaluated, self._ranker.lesson(answer, targets)

    def _learn(
        self, step: SubStep, has_already: npt.NDArray[np.bool_], lesson: Lesson, learning: list[Task[bool]]
    ) -> int:
        """Learn all events of ``step``; return how many updates were left out because they were not finite."""
        batch = step.batch
        was_finite = self._ranker.learn(lesson)
        self._ranker.see(self._to(batch.item_rows[batch.weights > 0]))
        was_finite.extend(task.result() for task in reversed(learning))
        self._histories.write(step.after)
        new = batch.owns & ~has_already
        self._owned.add(batch.user_rows[new], batch.item_rows[new])
        return was_finite.count(False)

    def _ask(self, user_rows: Int64, k: int) -> Answer:
        context = self._histories.context(user_rows)
        candidates = Candidates.all(self._num_items)
        scores = {name: self._scorers[name].score(context, candidates) for name in self._channels}
        inside = np.flatnonzero(user_rows < self._num_users)
        places, items = self._owned.pairs(user_rows[inside])
        owned = np.sort(inside[places] * self._num_items + items)
        return self._ranker.ask(Query(context, scores, self._to(owned), k))

    def _lists(self, user_rows: Int64, k: int) -> tuple[Answer, TopK]:
        """Return what the ranker answers, of some users more where they are few, and the lists of these users."""
        num_lists = len(user_rows)
        answer = self._ask(np.r_[user_rows, user_rows[-1:].repeat(max(0, FEWEST_ROWS - num_lists))], k)
        rows, shares = answer.best()
        transitions = self._scorers["transitions"]
        assert isinstance(transitions, ItemNeighbours), f"baseline transitions is a {type(transitions).__name__}"
        reasons = transitions.reasons(answer.context, rows)
        return answer, TopK(
            user_rows=user_rows,
            item_rows=rows[:num_lists].cpu().numpy(),
            scores=shares[:num_lists].nan_to_num(nan=0.0).cpu().numpy(),
            reasons=reasons[:num_lists].cpu().numpy(),
        )

    def _owned_before(self, step: SubStep) -> Int64:
        """Return what each event's user had just before it: event times I plus item, ``[n]`` int64, ascending."""
        places, items = self._owned.pairs(step.users)
        counts = np.bincount(places, minlength=len(step.users))
        lengths = counts[step.groups]
        at = (np.cumsum(counts) - counts)[step.groups].repeat(lengths) + count_up(lengths)
        same_user = step.groups[:, None] == step.groups[None, :]
        later, earlier = np.nonzero(
            same_user & step.batch.owns[None, :] & np.tri(len(step.batch), k=-1, dtype=np.bool_)
        )
        events = np.concatenate([np.arange(len(step.batch)).repeat(lengths), later])
        owned = np.concatenate([items[at], step.batch.item_rows[earlier]])
        return different(events * self._num_items + owned)

    def _to(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self._device)
