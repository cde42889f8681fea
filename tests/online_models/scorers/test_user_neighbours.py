"""Votes of alike users, worked by hand and against dictionaries and lists."""

import math
from collections import Counter, defaultdict, deque

import numpy as np
import pytest
import torch

from online_models import NO_ROW, Batch, NeighboursConfig, digest
from online_models.scorers.user_neighbours import UserNeighbours
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, events

NUM_USERS, NUM_ITEMS, LENGTH = 8, 12, 8
NOBODY = math.log(0.05)
"""Score of what no neighbour took."""
PLAIN = NeighboursConfig(num_recent=4, users_per_item=8, items_per_user=5, num_nearest=64)


class Taught:
    """A memory and the histories it reads."""

    def __init__(self, config: NeighboursConfig = PLAIN, num_users: int = NUM_USERS) -> None:
        self.scorer = UserNeighbours(config, LENGTH, torch.device("cpu"))
        self.histories = Histories(LENGTH)
        self.scorer.grow(num_users, NUM_ITEMS)
        self.histories.grow(num_users)

    def teach(self, batch: Batch) -> torch.Tensor:
        """Return the scores just before each event, then learn them."""
        step = self.histories.plan(batch)
        scores = self.scorer.score_events(step, Candidates.all(NUM_ITEMS)).table()
        assert self.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
        self.histories.write(step.after)
        return scores

    def taught(self, users: list[int], items: list[int], weights: list[float] | None = None) -> "Taught":
        self.teach(events(users, items, [0] * len(users), weights))
        return self

    def reset(self, users: list[int], items: list[int]) -> None:
        rows = np.array(users, np.int64), np.array(items, np.int64)
        self.histories.reset(*rows)
        self.scorer.reset(*rows)

    def scores(self, user: int) -> list[float]:
        return (
            self.scorer.score(self.histories.context(np.array([user])), Candidates.all(NUM_ITEMS)).table()[0].tolist()
        )


class Slow:
    """The same memory in dictionaries, one event after the other."""

    def __init__(self, config: NeighboursConfig) -> None:
        self.config = config
        self.past: dict[int, list[int]] = defaultdict(list)  # newest first
        self.voted: dict[int, list[int]] = defaultdict(list)
        self.takers: dict[int, deque[int | None]] = defaultdict(lambda: deque(maxlen=config.users_per_item))
        self.counts: Counter[int] = Counter()
        self.against: Counter[int] = Counter()
        self.num_events = 0

    def teach(self, rows: list[tuple[int, int, float]]) -> list[list[float]]:
        """Return the scores just before each event, all by what was learned before, then learn them."""
        scores, past = [], {user: list(items) for user, items in self.past.items()}
        for user, item, weight in rows:
            scores.append(self.scores(user))
            if weight > 0:
                self.past[user] = [item, *self.past[user]][:LENGTH]
        self.past = defaultdict(list, past)
        for user, item, weight in rows:
            self._learn(user, item, weight)
        for user, _, _ in rows:
            self.voted[user] = self.past[user][: self.config.items_per_user]
        return scores

    def _learn(self, user: int, item: int, weight: float) -> None:
        if weight < 0:
            self.against[item] += 1
        if weight <= 0:
            return
        if item not in self.past[user][: self.config.items_per_user]:
            self.takers[item].append(user)
        self.counts[item] += 1
        self.num_events += 1
        self.past[user] = [item, *self.past[user]][:LENGTH]

    def reset(self, users: list[int], items: list[int]) -> None:
        for user in users:
            self.past[user], self.voted[user] = [], []
        for item in items:
            self.takers[item].clear()
            self.counts[item] = self.against[item] = 0
        for item, takers in self.takers.items():
            kept = [None if user in users else user for user in takers]
            self.takers[item] = deque(kept, maxlen=self.config.users_per_item)
        for kept_items in (self.past, self.voted):
            for user, taken in kept_items.items():
                kept_items[user] = [item for item in taken if item not in items]

    def scores(self, user: int) -> list[float]:
        recent = list(dict.fromkeys(self.past[user][: self.config.num_recent]))
        sums: dict[int, float] = defaultdict(float)
        newest: dict[int, float] = {}
        for place, source in enumerate(recent):
            worth = 1.0 - place / (len(recent) + 1.0)
            for other in self.takers[source]:
                if other is not None and other != user:
                    sums[other] += worth
                    newest.setdefault(other, worth)
        votes: dict[int, float] = defaultdict(float)
        for other, total in sums.items():
            for item in self.voted[other]:
                votes[item] += total * newest[other]
        return [math.log(votes[item] * self._worth(item) + 0.05) for item in range(NUM_ITEMS)]

    def _worth(self, item: int) -> float:
        count = self.counts[item] + 1
        return (math.log((self.num_events + 1) / count) + 1) * count / (count + self.against[item])


def test_the_nearest_users_vote_for_what_they_took() -> None:
    taught = Taught().taught([1, 1, 2, 2, 0, 0], [3, 4, 3, 5, 3, 4])

    scores = taught.scores(0)

    # User 0 has 4, 3, newest first, worth 1 and 2/3. User 1 shares both: (1 + 2/3) * 1. User 2 shares 3: 2/3 * 2/3.
    near, far = 5 / 3, 4 / 9
    # Of six events item 5 has one, 4 two and 3 three.
    assert scores[5] == pytest.approx(math.log(far * (math.log(7 / 2) + 1) + 0.05), abs=1e-5)
    assert scores[4] == pytest.approx(math.log(near * (math.log(7 / 3) + 1) + 0.05), abs=1e-5)
    assert scores[3] == pytest.approx(math.log((near + far) * (math.log(7 / 4) + 1) + 0.05), abs=1e-5)
    assert scores[0] == pytest.approx(NOBODY, abs=1e-6)


def test_nobody_is_near_to_a_user_without_history_and_nobody_to_himself() -> None:
    taught = Taught().taught([1, 1], [3, 4])

    assert taught.scores(0) == pytest.approx([NOBODY] * NUM_ITEMS, abs=1e-6)
    assert taught.scores(1) == pytest.approx([NOBODY] * NUM_ITEMS, abs=1e-6)
    assert taught.scores(NUM_USERS + 5000) == pytest.approx([NOBODY] * NUM_ITEMS, abs=1e-6)


def test_before_any_event_every_item_scores_alike() -> None:
    assert Taught().scores(0) == pytest.approx([NOBODY] * NUM_ITEMS, abs=1e-6)


def test_an_item_in_common_is_worth_less_the_older_it_is_in_the_history_and_its_repeats_are_not_counted() -> None:
    taught = Taught().taught([1, 1, 2, 2], [3, 7, 4, 8]).taught([0, 0, 0, 0], [3, 4, 3, 4])

    scores = taught.scores(0)

    # Of the history 4, 3, 4, 3 the places are of 4 and 3: worth 1 and 2/3. 7 and 8 were taken once each.
    worth = math.log(9 / 2) + 1
    assert scores[8] == pytest.approx(math.log(worth + 0.05), abs=1e-5)
    assert scores[7] == pytest.approx(math.log(4 / 9 * worth + 0.05), abs=1e-5)


def test_only_users_of_the_newest_items_are_met() -> None:
    config = NeighboursConfig(num_recent=2, users_per_item=8, items_per_user=5, num_nearest=64)
    taught = Taught(config).taught([1, 1, 2, 2, 0, 0, 0], [3, 7, 4, 8, 3, 4, 5])

    scores = taught.scores(0)

    assert scores[7] == pytest.approx(NOBODY, abs=1e-6)  # of user 1, by item 3, the third newest
    assert scores[8] > NOBODY + 1.0


def test_only_so_many_of_the_nearest_vote() -> None:
    # Users 1, 2 and 3 share one, two and three items with user 0, and each took one thing of his own.
    rows = [(1, 2), (1, 7), (2, 2), (2, 3), (2, 8), (3, 2), (3, 3), (3, 4), (3, 9), (0, 2), (0, 3), (0, 4)]
    users, items = (list(column) for column in zip(*rows, strict=True))

    found = []
    for num_nearest in (1, 2, 3):
        config = NeighboursConfig(num_recent=4, users_per_item=8, items_per_user=5, num_nearest=num_nearest)
        scores = Taught(config).taught(users, items).scores(0)
        found.append([item for item in (7, 8, 9) if scores[item] > NOBODY + 0.01])

    assert found == [[9], [8, 9], [7, 8, 9]]


def test_an_item_remembers_its_newest_users_alone() -> None:
    config = NeighboursConfig(num_recent=4, users_per_item=2, items_per_user=5, num_nearest=64)
    taught = Taught(config).taught([1, 2, 3, 1, 2, 3], [6, 7, 8, 4, 4, 4]).taught([0], [4])

    scores = taught.scores(0)

    assert [item for item in (6, 7, 8) if scores[item] > NOBODY + 0.01] == [8]  # user 0 himself is the other one
    assert sorted(taught.scorer.state()["users"][4].tolist()) == [0, 3]


def test_one_step_with_more_users_than_an_item_remembers_leaves_the_last_of_them() -> None:
    config = NeighboursConfig(num_recent=4, users_per_item=3, items_per_user=5, num_nearest=64)
    taught = Taught(config).taught([0], [4]).taught([1, 2, 3, 4, 5], [4] * 5).taught([6, 7], [4, 5])

    assert sorted(taught.scorer.state()["users"][4].tolist()) == [4, 5, 6]


def test_a_user_is_written_to_an_item_once_while_it_stays_among_his_newest() -> None:
    def takers(taught: Taught) -> list[int]:
        return [user for user in taught.scorer.state()["users"][3].tolist() if user != NO_ROW]

    taught = Taught().taught([1, 1, 1], [3, 3, 3])
    assert takers(taught) == [1]  # three times in one step

    taught.taught([1, 1, 1, 1], [4, 5, 6, 3])
    assert takers(taught) == [1]  # it was the fourth newest of five

    taught.taught([1, 1, 1, 1, 1], [4, 5, 6, 7, 8]).taught([1], [3])
    assert takers(taught) == [1, 1]  # it had left them


def test_a_user_votes_for_his_newest_items_alone_and_for_a_repeated_one_as_often_as_it_is_there() -> None:
    config = NeighboursConfig(num_recent=4, users_per_item=8, items_per_user=3, num_nearest=64)
    taught = Taught(config).taught([1, 1, 1, 1], [3, 4, 5, 5]).taught([0], [3])

    scores = taught.scores(0)

    # User 1 is met by item 3, which has left his three newest: 5, 5, 4.
    assert scores[4] == pytest.approx(math.log(math.log(6 / 2) + 1 + 0.05), abs=1e-5)
    assert scores[5] == pytest.approx(math.log(2 * (math.log(6 / 3) + 1) + 0.05), abs=1e-5)
    assert scores[3] == pytest.approx(NOBODY, abs=1e-6)


def test_no_more_items_vote_than_a_history_holds() -> None:
    config = NeighboursConfig(num_recent=4, users_per_item=8, items_per_user=1000, num_nearest=64)

    assert Taught(config).taught([1], [3]).scorer.state()["items"].shape == (NUM_USERS, LENGTH)


def test_votes_are_worth_less_the_more_events_were_against_the_item() -> None:
    rows = [1, 1, 1, 0], [3, 4, 5, 3]
    liked = Taught().taught(*rows).scores(0)
    disliked = Taught().taught(*rows).taught([2, 2, 3], [5, 5, 5], [-1.0, -2.0, 0.0]).scores(0)

    # Two in four events for item 5 and the one it is taken to have.
    assert disliked[4] == liked[4]
    assert math.exp(disliked[5]) - 0.05 == pytest.approx((math.exp(liked[5]) - 0.05) * 2 / 4, rel=1e-4)


def test_an_event_worth_nothing_or_against_its_item_makes_nobody_a_neighbour() -> None:
    taught = Taught().taught([1, 1, 2, 2], [3, 7, 3, 8], [0.0, 1.0, -1.0, 1.0]).taught([0], [3])

    scores = taught.scores(0)

    assert scores[7] == scores[8] == pytest.approx(NOBODY, abs=1e-6)


def test_events_of_one_sub_step_do_not_see_each_others_users_but_their_own_history() -> None:
    taught = Taught().taught([1, 1], [3, 4])

    scores = taught.teach(events([2, 0, 0, 0], [3, 3, 4, 5], [0] * 4))

    assert scores[1].tolist() == pytest.approx([NOBODY] * NUM_ITEMS, abs=1e-6)  # user 0 has nothing yet
    # Then 3, so user 1 votes and user 2 does not yet: of three events there were one of each of his items.
    assert scores[2][4].item() == pytest.approx(math.log(math.log(3 / 2) + 1 + 0.05), abs=1e-5)
    # Then 4 and 3, and he shares both.
    assert scores[3][4].item() == pytest.approx(math.log(5 / 3 * (math.log(3 / 2) + 1) + 0.05), abs=1e-5)


def test_a_late_event_makes_a_neighbour_and_stands_where_its_time_puts_it() -> None:
    taught = Taught()
    taught.teach(events([1, 1], [3, 4], [100, 300]))
    taught.teach(events([1], [5], [200]))
    taught.teach(events([0], [5], [400]))

    assert taught.scores(0)[3] > NOBODY + 0.5
    assert taught.scorer.state()["items"][1, :4].tolist() == [4, 5, 3, NO_ROW]


def test_a_reset_user_is_forgotten_by_every_item_and_votes_no_more() -> None:
    taught = Taught().taught([1, 1, 2, 2, 1], [3, 4, 3, 5, 6])
    taught.reset([1], [])
    taught.taught([0], [3])

    scores = taught.scores(0)

    state = taught.scorer.state()
    assert not (state["users"] == 1).any()
    assert (state["items"][1] == NO_ROW).all()
    assert scores[4] == scores[6] == pytest.approx(NOBODY, abs=1e-6)
    assert scores[5] > NOBODY + 1.0


def test_a_reset_item_is_forgotten_by_every_user_and_has_no_users() -> None:
    taught = Taught().taught([1, 1, 2, 2, 3], [3, 4, 4, 3, 4]).taught([3, 3], [4, 5], [-1.0, 1.0])
    taught.reset([], [4])

    state = taught.scorer.state()
    assert (state["users"][4] == NO_ROW).all()
    assert not (state["items"] == 4).any()
    assert [int(state[name][4]) for name in ("totals", "counts", "against")] == [0, 0, 0]
    assert taught.scores(1)[4] == pytest.approx(NOBODY, abs=1e-6)
    assert taught.scores(1)[3] > NOBODY + 0.5  # users 1 and 2 still have 3 in common


def test_the_last_user_and_the_last_item_can_be_reset_too() -> None:
    last = NUM_USERS - 1, NUM_ITEMS - 1
    rows = [last[0], last[0], 0, 0], [3, last[1], 3, last[1]]
    without_user, without_item = Taught().taught(*rows), Taught().taught(*rows)

    without_user.reset([last[0]], [])
    without_item.reset([], [last[1]])

    assert not (without_user.scorer.state()["users"] == last[0]).any()
    assert not (without_item.scorer.state()["items"] == last[1]).any()


def test_resetting_nothing_changes_nothing() -> None:
    taught = Taught().taught([1, 1, 0], [3, 4, 3])
    before = digest(taught.scorer.state())

    taught.scorer.reset(NONE, NONE)

    assert digest(taught.scorer.state()) == before


def test_a_reused_row_begins_like_one_never_used() -> None:
    taught = Taught().taught([1, 1, 0, 2], [3, 4, 3, 4])
    taught.reset([1], [4])
    taught.taught([1, 1], [4, 5]).taught([0], [4])

    # The new user 1 has 5 and the new 4; the old one's item 3 no longer brings him near user 0, the new 4 does.
    assert taught.scores(0)[5] > NOBODY + 1.0
    assert taught.scorer.state()["users"][3].tolist().count(1) == 0
    assert sorted(taught.scorer.state()["users"][4].tolist()) == [NO_ROW] * 6 + [0, 1]


def test_table_sizes_are_those_of_users_and_items() -> None:
    assert Taught().scorer.sizes() == {
        "users": (NUM_USERS, 1024),
        "items": (NUM_ITEMS, 1024),
    }


def test_rows_beyond_the_first_thousand_are_remembered_as_those_before_them() -> None:
    config = NeighboursConfig(num_recent=4, users_per_item=8, items_per_user=5, num_nearest=64)
    taught, far = Taught(config, num_users=5000), Taught(config, num_users=5000)

    near = taught.taught([1, 1, 0], [3, 4, 3]).scores(0)

    assert far.taught([4001, 4001, 4999], [3, 4, 3]).scores(4999) == near


CONFIGS = [
    NeighboursConfig(num_recent=4, users_per_item=3, items_per_user=3, num_nearest=4096),  # everything overflows
    NeighboursConfig(num_recent=20, users_per_item=64, items_per_user=30, num_nearest=4096),  # nothing does
    NeighboursConfig(num_recent=1, users_per_item=2, items_per_user=1, num_nearest=4096),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_dictionaries_over_random_streams(config: NeighboursConfig, seed: int) -> None:
    """With repeats, events against items, several events of one item in a sub-step, and resets between the steps."""
    rng = np.random.default_rng(seed)
    taught, slow = Taught(config), Slow(config)
    for place in range(14):
        size = int(rng.integers(1, 13))
        users, items = rng.integers(0, NUM_USERS, size).tolist(), rng.integers(0, NUM_ITEMS, size).tolist()
        weights = rng.choice([1.0, 1.0, 1.0, 2.0, 0.0, -1.0], size).tolist()
        if place % 4 == 3:
            gone = rng.choice(NUM_USERS, place % 3, replace=False).tolist(), [int(rng.integers(NUM_ITEMS))]
            taught.reset(*gone)
            slow.reset(*gone)

        found = taught.teach(events(users, items, [0] * size, weights))

        expected = slow.teach(list(zip(users, items, weights, strict=True)))
        assert np.allclose(found.numpy(), np.array(expected), atol=1e-4)
    assert len({tuple(slow.scores(user)) for user in range(NUM_USERS)}) > 1  # not all alike
    for user in range(NUM_USERS):
        assert taught.scores(user) == pytest.approx(slow.scores(user), abs=1e-4)
