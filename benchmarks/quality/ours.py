"""The default model of the project in the walk: ``OnlineLearner`` with the settings that it comes with."""

import time

import numpy as np

from benchmarks.quality.peers.peer import Int64
from benchmarks.quality.protocol import Float64, K, Ranked, Rules, batch_of, joined, misses
from benchmarks.quality.stream import Events, Stream
from online_models import LearnerConfig, OnlineLearner, StepReport

__all__ = ["OurContestant"]

NUM_PARTS = 10


class OurContestant:
    """Drives the learner through ``step``, and through ``rank`` where a question is asked outside of it."""

    def __init__(self, stream: Stream, rules: Rules) -> None:
        # Nothing is set per data set; K is that of the lists that are looked at.
        self._learner = OnlineLearner(LearnerConfig(k=K, seed=rules.seed), clock=time.perf_counter)
        self._rules, self._num_events = rules, len(stream)
        self._num_done = self._num_known = 0
        self.fusion_weights: list[dict[str, float]] = []
        """At the end of each tenth of the events learned."""
        self.rank_seconds = self.learn_seconds = 0.0

    def play(self, events: Events, start: int) -> Ranked:
        """Rank and learn a batch in one step; with stale histories, rank it by ``rank`` before."""
        places = start + np.arange(len(events))
        stale = self.ask(events, places) if self._rules.history == "stale" else None
        report = self._learner.step(batch_of(events, owns=not self._rules.repeat))
        self.learn_seconds += report.learn_seconds
        self._note(report)
        if stale is not None:
            return stale
        self.rank_seconds += report.evaluate_seconds
        # Of what a user owns the learner forgets the oldest at some point; what happened is not forgotten here.
        kept = self._rules.repeat | ~events.is_repeat[report.evaluated]
        return Ranked(
            places=places[report.evaluated[kept]],
            ranks=report.ranks["model"][kept],
            top_rows=report.top_rows["model"][kept],
        )

    def learn(self, events: Events) -> None:
        """Learn a batch; the learner evaluates it too, which is not used."""
        report = self._learner.step(batch_of(events, owns=not self._rules.repeat))
        self.learn_seconds += report.learn_seconds
        self._note(report)

    def ask(self, events: Events, places: Int64) -> Ranked:
        """Rank by the whole list of each user as the learner would publish it now."""
        rows = np.arange(len(events)) if self._rules.repeat else np.flatnonzero(~events.is_repeat)
        begun = time.perf_counter()
        parts = [self._asked(events, places, rows[start : start + 64]) for start in range(0, len(rows), 64)]
        self.rank_seconds += time.perf_counter() - begun
        return joined([misses(places[:0]), *parts])

    def _asked(self, events: Events, places: Int64, rows: Int64) -> Ranked:
        top = self._learner.rank(events.user_rows[rows], max(self._num_known, K))
        ranks = listed_ranks(top.item_rows, top.scores.astype(np.float64), events.item_rows[rows])
        return Ranked(places=places[rows], ranks=ranks, top_rows=top.item_rows[:, :K])

    def _note(self, report: StepReport) -> None:
        self._num_known = report.num_items_known
        self._num_done += report.num_events
        while len(self.fusion_weights) < min(NUM_PARTS, self._num_done * NUM_PARTS // self._num_events):
            self.fusion_weights.append(dict(self._learner.fusion_weights()))


def listed_ranks(listed: Int64, scores: Float64, targets: Int64) -> Float64:
    """Return where each target is in its list, equal scores above 0 in the middle, infinite where it is not listed.

    Args:
        listed: ``[E, K]`` int64 item rows, best first.
        scores: ``[E, K]`` float64 in 0..1, descending; 0 may be a probability too small for a float, so that places
            count there.
        targets: ``[E]`` int64.
    """
    is_target = listed == targets[:, None]
    is_listed = is_target.any(axis=1)
    at = is_target.argmax(axis=1)
    own = np.take_along_axis(scores, at[:, None], 1)
    higher = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1) - 1
    ranks = np.where(own[:, 0] > 0, 1.0 + higher + equal / 2.0, 1.0 + at)
    return np.where(is_listed, ranks, np.inf)
