"""Cosines of what comes near what, worked by hand and against dictionaries."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from online_models import NO_ROW, Batch, TransitionsConfig
from online_models.scorers.cooccurrence import Cooccurrence
from online_models.scorers.item_neighbours import ItemNeighbours
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, events

NUM_USERS, NUM_ITEMS = 6, 10
PLAIN = TransitionsConfig(num_recent=3, position_decay=0.5, half_life_events=1e9, num_slots=16)
NOTHING = math.log(0.01)
"""Score of what never came near."""


class Taught:
    """A memory and the histories it reads."""

    def __init__(self, config: TransitionsConfig = PLAIN) -> None:
        self.scorer = ItemNeighbours(config, Cooccurrence(), torch.device("cpu"))
        self.histories = Histories(8)
        self.scorer.grow(NUM_USERS, NUM_ITEMS)
        self.histories.grow(NUM_USERS)

    def teach(self, batch: Batch) -> "Taught":
        step = self.histories.plan(batch)
        assert self.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
        self.histories.write(step.after)
        return self

    def taught(self, users: list[int], items: list[int], weights: list[float] | None = None) -> "Taught":
        return self.teach(events(users, items, [0] * len(users), weights))

    def scores(self, user: int) -> list[float]:
        return (
            self.scorer.score(self.histories.context(np.array([user])), Candidates.all(NUM_ITEMS)).table()[0].tolist()
        )

    def pairs(self) -> dict[tuple[int, int], float]:
        state = self.scorer.state()
        sources, slots = np.nonzero(state["neighbours"] != NO_ROW)
        weights = state["weights"][sources, slots] / self.scorer.scale.value
        rows = zip(sources.tolist(), state["neighbours"][sources, slots].tolist(), weights.tolist(), strict=True)
        return {(source, target): weight for source, target, weight in rows if weight > 0}


def test_every_pair_among_the_newest_counts_the_same_both_ways() -> None:
    found = Taught().taught([0] * 5, [1, 2, 3, 4, 5]).pairs()

    # The three newest before each event: all pairs but 1 with 5.
    near = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)]
    assert found == {pair: 1.0 for one, other in near for pair in ((one, other), (other, one))}


def test_the_score_is_the_cosine_times_the_worth_of_the_position() -> None:
    taught = Taught().taught([0, 0, 0, 1, 1, 2], [1, 2, 3, 1, 2, 1])

    # 1 came three times, 2 twice, 3 once; 1 and 2 were together twice, 1 and 3 once, 2 and 3 once. Each item has one
    # event more, which it is taken to have.
    scores = taught.scores(2)
    assert scores[2] == pytest.approx(math.log(2 / math.sqrt(4 * 3) + 0.01), abs=1e-5)
    assert scores[3] == pytest.approx(math.log(1 / math.sqrt(4 * 2) + 0.01), abs=1e-5)
    assert scores[1] == scores[5] == pytest.approx(NOTHING, abs=1e-6)
    # User 1 has 2, 1, newest first, worth 1 and 1/2.
    scores = taught.scores(1)
    assert scores[3] == pytest.approx(math.log(1 / math.sqrt(3 * 2) + 0.5 / math.sqrt(4 * 2) + 0.01), abs=1e-5)
    assert scores[1] == pytest.approx(math.log(2 / math.sqrt(3 * 4) + 0.01), abs=1e-5)


def test_what_came_first_leads_to_what_came_after_as_well_as_back() -> None:
    taught = Taught().taught([0, 0], [1, 2]).taught([1, 2], [1, 2])

    # 1 and 2 came twice each and once together.
    assert taught.scores(1)[2] == taught.scores(2)[1] == pytest.approx(math.log(1 / 3 + 0.01), abs=1e-5)


def test_fame_of_either_side_lowers_the_cosine() -> None:
    rows = [0, 0, 1], [1, 2, 1]
    quiet = Taught().taught(*rows).scores(1)[2]

    famous_target = Taught().taught(*rows).taught([3, 4], [2, 2]).scores(1)[2]
    famous_source = Taught().taught(*rows).taught([3, 4], [1, 1]).scores(1)[2]

    assert quiet == pytest.approx(math.log(1 / math.sqrt(3 * 2) + 0.01), abs=1e-5)
    assert famous_target == pytest.approx(math.log(1 / math.sqrt(3 * 4) + 0.01), abs=1e-5)
    assert famous_source == pytest.approx(math.log(1 / math.sqrt(5 * 2) + 0.01), abs=1e-5)


def test_pairs_and_counts_halve_after_a_half_life_of_events() -> None:
    config = TransitionsConfig(num_recent=3, position_decay=0.5, half_life_events=8.0, num_slots=16)
    taught = Taught(config).taught([0, 0], [1, 2])  # the two events age it by two themselves
    taught.taught([1] * 6, [9] * 6, weights=[0.0] * 6)

    assert taught.pairs() == {(1, 2): pytest.approx(0.5), (2, 1): pytest.approx(0.5)}
    # One event each, now half of one, and one more that every item is taken to have.
    assert taught.scores(0)[1] == pytest.approx(math.log(0.5 / 1.5 + 0.01), abs=1e-5)


def test_an_event_against_an_item_takes_its_pairs_away_but_not_below_zero() -> None:
    taught = Taught().taught([0, 0, 1, 1], [1, 2, 1, 2])
    taught.taught([2, 2], [1, 2], [1.0, -0.5])
    assert taught.pairs() == {(1, 2): 1.5, (2, 1): 1.5}

    taught.taught([3, 3], [1, 2], [1.0, -9.0])

    assert taught.pairs() == {}
    assert taught.scores(2)[2] == pytest.approx(NOTHING, abs=1e-6)


def test_a_reset_item_is_near_nothing_and_its_count_begins_anew() -> None:
    taught = Taught().taught([0, 0, 0, 1], [1, 2, 3, 1])
    rows = NONE, np.array([2])
    taught.histories.reset(*rows)
    taught.scorer.reset(*rows)

    assert taught.pairs() == {(1, 3): 1.0, (3, 1): 1.0}
    assert not (taught.scorer.state()["neighbours"] == 2).any()
    taught.taught([4, 4], [5, 2])
    # One event each, and one more that every item is taken to have; five events are in the past of user 4's.
    assert taught.taught([5], [5]).scores(5)[2] == pytest.approx(math.log(1 / math.sqrt(3 * 2) + 0.01), abs=1e-5)


def test_of_too_many_near_items_the_ones_seen_together_most_stay() -> None:
    config = TransitionsConfig(num_recent=1, position_decay=0.5, half_life_events=1e9, num_slots=2)
    taught = Taught(config)
    for user, (first, second) in enumerate([(1, 2), (1, 2), (1, 3), (1, 4)]):
        taught.taught([user, user], [first, second], [2.0, 2.0])

    # 4 takes the place of 3, which is no stronger; 2 has twice as much and stays.
    assert {pair: weight for pair, weight in taught.pairs().items() if pair[0] == 1} == {(1, 2): 4.0, (1, 4): 2.0}


def test_a_user_without_history_is_near_nothing() -> None:
    assert Taught().taught([0, 0], [1, 2]).scores(5) == pytest.approx([NOTHING] * NUM_ITEMS, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_dictionaries_over_random_streams(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_life = float(rng.choice([20.0, 1e9]))
    taught = Taught(TransitionsConfig(num_recent=3, position_decay=0.5, half_life_events=half_life, num_slots=16))
    near: dict[tuple[int, int], float] = defaultdict(float)
    counts: dict[int, float] = defaultdict(float)
    past: dict[int, list[int]] = defaultdict(list)
    for _ in range(12):
        size = int(rng.integers(1, 9))
        users, items = rng.integers(0, NUM_USERS, size).tolist(), rng.integers(0, NUM_ITEMS, size).tolist()
        weights = rng.choice([1.0, 1.0, 2.0, 0.0], size).tolist()
        taught.taught(users, items, weights)
        for user, item, weight in zip(users, items, weights, strict=True):
            for source in past[user][:3]:
                near[source, item] += weight
                near[item, source] += weight
            counts[item] += weight
            past[user] = [item, *past[user]] if weight > 0 else past[user]
        for faded in (near, counts):
            for key in faded:
                faded[key] *= 0.5 ** (size / half_life)

    def score(user: int, item: int) -> float:
        norm = {source: math.sqrt((counts[source] + 1) * (counts[item] + 1)) for source in past[user][:3]}
        cosines = [near[source, item] / norm[source] for source in past[user][:3]]
        return math.log(sum(cosine * 0.5**place for place, cosine in enumerate(cosines)) + 0.01)

    expected = [[score(user, item) for item in range(NUM_ITEMS)] for user in range(NUM_USERS)]
    assert np.std(expected) > 0.3
    assert np.allclose([taught.scores(user) for user in range(NUM_USERS)], expected, atol=1e-4)
