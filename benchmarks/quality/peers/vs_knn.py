"""What sessions, or users, that lately took the same items took besides."""

import numpy as np

from benchmarks.quality.peers.backfill import Backfill
from benchmarks.quality.peers.peer import Float32, Int64, Questions, Sizes
from online_models import NO_ROW

__all__ = ["VsKnn"]

NUM_NEIGHBOURS = 100
NUM_SAMPLED = 500
SESSIONS_PER_ITEM = 500
WINDOW = 30
"""Newest items that stand for a session, and for a question."""


class VsKnn:
    """Vector multiplication session-based nearest neighbours, updated event by event.

    Every item remembers its newest sessions, every session its newest items. The newest 500 sessions that share an item
    with the question are compared, the nearest 100 vote for their items.

    Source: V-SkNN, Ludewig and Jannach, UMUAI 2018, arXiv:1803.09587: question items weigh less the older they are, and
    a neighbour's vote is weighted by its newest common item.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._session_items = np.full((sizes.num_sessions, WINDOW), NO_ROW, np.int32)
        self._session_counts = np.zeros(sizes.num_sessions, np.int64)
        self._touched = np.zeros(sizes.num_sessions, np.int64)
        self._item_sessions = np.full((sizes.num_items, SESSIONS_PER_ITEM), NO_ROW, np.int32)
        self._item_counts = np.zeros(sizes.num_items, np.int64)
        self._sums = np.zeros(sizes.num_sessions, np.float64)
        self._best = np.zeros(sizes.num_sessions, np.float64)
        self._marks = np.zeros(sizes.num_sessions, np.int64)
        self._has_sessions = sizes.has_sessions
        self._num_events = 0
        self._num_taken = np.zeros(sizes.num_items, np.int64)
        self._backfill = Backfill(sizes.num_items)

    def score(self, asked: Questions) -> Float32:
        """Return the votes of the neighbours."""
        scores = np.zeros((len(asked), asked.num_items), np.float32)
        idf = np.log((self._num_events + 1.0) / (self._num_taken[: asked.num_items] + 1.0)).astype(np.float32) + 1.0
        for place in range(len(asked)):
            history = asked.context.item_rows[place]
            length = int(asked.basket_sizes[place]) if self._has_sessions else 0
            question = history[: min(length or WINDOW, WINDOW)]
            question = question[(question != NO_ROW) & (question < asked.num_items)]
            if len(question):
                self._vote(scores[place], question, int(asked.session_rows[place]))
        return self._backfill.added_to(scores * idf)

    def learn(self, asked: Questions, item_rows: Int64) -> None:
        """Put each item into its session, and the session into the item's, once."""
        for session, item in zip(asked.session_rows.tolist(), item_rows.tolist(), strict=True):
            self._num_events += 1
            self._touched[session] = self._num_events
            items = self._session_items[session]
            if (items == item).any():
                continue
            items[self._session_counts[session] % WINDOW] = item
            self._session_counts[session] += 1
            self._item_sessions[item, self._item_counts[item] % SESSIONS_PER_ITEM] = session
            self._item_counts[item] += 1
        np.add.at(self._num_taken, item_rows, 1)
        self._backfill.learn(item_rows)

    def _vote(self, votes: Float32, question: Int64, own_session: int) -> None:
        _, first = np.unique(question, return_index=True)
        different = question[np.sort(first)]
        worth = 1.0 - np.arange(len(different)) / (len(different) + 1.0)
        sessions, weights = self._candidates(different, worth, own_session)
        if not len(sessions):
            return
        sessions, similarity, newest = self._nearest(sessions, weights)
        items = self._session_items[sessions]
        held = items != NO_ROW
        strength = np.broadcast_to((similarity * newest)[:, None], items.shape)[held]
        votes += np.bincount(items[held], strength, minlength=len(votes))[: len(votes)]

    def _candidates(self, different: Int64, worth: np.ndarray, own_session: int) -> tuple[np.ndarray, np.ndarray]:
        sessions = self._item_sessions[different]
        held = (sessions != NO_ROW) & (sessions != own_session)
        return sessions[held], np.broadcast_to(worth[:, None], sessions.shape)[held]

    def _nearest(self, sessions: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the nearest of the newest sessions, how near, and the worth of the newest item in common."""
        self._sums[sessions] = 0.0
        np.add.at(self._sums, sessions, weights)
        self._best[sessions[::-1]] = weights[::-1]  # the newest item is first, and written last
        self._marks[sessions] = np.arange(len(sessions))
        different = sessions[self._marks[sessions] == np.arange(len(sessions))]
        if len(different) > NUM_SAMPLED:
            newest = np.argpartition(self._touched[different], -NUM_SAMPLED)[-NUM_SAMPLED:]
            different = different[newest]
        if len(different) > NUM_NEIGHBOURS:
            order = self._sums[different] + self._touched[different] / (self._num_events * 1e6)
            different = different[np.argpartition(order, -NUM_NEIGHBOURS)[-NUM_NEIGHBOURS:]]
        return different, self._sums[different], self._best[different]
