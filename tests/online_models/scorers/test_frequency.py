"""How often each user took each item, worked by hand and against dictionaries."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from online_models import FrequencyConfig
from online_models.scorers.frequency import Frequency
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, events

NUM_USERS, NUM_ITEMS = 5, 8
PLAIN = FrequencyConfig(items_per_user=4, half_life_events=1e9)


class Taught:
    """A memory and the histories it reads; time goes on by a second with each batch."""

    def __init__(self, config: FrequencyConfig = PLAIN) -> None:
        self.scorer = Frequency(config, torch.device("cpu"))
        self.histories = Histories(6)
        self.scorer.grow(NUM_USERS, NUM_ITEMS)
        self.histories.grow(NUM_USERS)
        self.now = 0

    def taught(self, users: list[int], items: list[int], weights: list[float] | None = None) -> "Taught":
        self.now += 1_000
        step = self.histories.plan(events(users, items, [self.now] * len(users), weights))
        assert self.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
        self.histories.write(step.after)
        return self

    def counts(self, user: int) -> list[float]:
        """Return what the user's own events are worth, what everybody's are taken away."""
        context = self.histories.context(np.array([user]))
        common = self.scorer.totals[:NUM_ITEMS] + 0.1
        scores = self.scorer.score(context, Candidates.all(NUM_ITEMS)).table()[0].double().exp().numpy()
        return (scores - 20.0 * common / (self.scorer.totals.sum() + 1.0)).tolist()


def test_the_score_is_the_count_beside_twenty_events_as_everybody_has_them() -> None:
    taught = Taught().taught([0, 1], [1, 2]).taught([0], [1]).taught([0], [3])

    scores = taught.scorer.score(taught.histories.context(np.array([0])), Candidates.all(NUM_ITEMS)).table()[0].tolist()
    total = 4 + 1
    assert scores[1] == pytest.approx(math.log(2 + 20 * 2.1 / total), abs=1e-5)
    assert scores[2] == pytest.approx(math.log(20 * 1.1 / total), abs=1e-5)
    assert scores[5] == pytest.approx(math.log(20 * 0.1 / total), abs=1e-5)


def test_what_lies_in_the_running_basket_counts_as_never_taken() -> None:
    taught = Taught().taught([0, 0], [1, 2])

    assert taught.counts(0) == pytest.approx([0.0] * NUM_ITEMS, abs=1e-5)
    assert taught.taught([0], [3]).counts(0)[1:4] == pytest.approx([1.0, 1.0, 0.0], abs=1e-5)


def test_counts_halve_with_the_events_of_their_user_alone() -> None:
    taught = Taught(FrequencyConfig(items_per_user=4, half_life_events=2.0))
    taught.taught([0, 1], [1, 1]).taught([0, 0], [2, 3])

    assert taught.counts(0)[1] == pytest.approx(0.5, abs=1e-5)
    assert taught.taught([1], [2]).counts(1)[1] == pytest.approx(0.5**0.5, abs=1e-5)


def test_a_new_item_takes_the_slot_of_the_one_with_the_least_count() -> None:
    taught = Taught(FrequencyConfig(items_per_user=2, half_life_events=1e9))
    taught.taught([0, 0, 0], [1, 1, 2]).taught([0], [3]).taught([0], [4])

    assert taught.counts(0)[1:5] == pytest.approx([2.0, 0.0, 0.0, 0.0], abs=1e-5)
    assert taught.taught([0], [1]).counts(0)[4] == pytest.approx(1.0, abs=1e-5)


def test_of_more_new_items_than_slots_the_first_ones_are_kept() -> None:
    taught = Taught(FrequencyConfig(items_per_user=2, half_life_events=1e9)).taught([0] * 3, [1, 2, 3])

    assert sorted(taught.scorer.items[0].tolist()) == [1, 2]


def test_an_event_against_an_item_takes_its_count_away_but_not_below_zero() -> None:
    taught = Taught().taught([0, 0], [1, 2]).taught([0], [3]).taught([0, 0], [1, 2], [-0.5, -9.0])

    assert taught.counts(0)[1:3] == pytest.approx([0.5, 0.0], abs=1e-5)


def test_reset_users_and_items_are_forgotten() -> None:
    taught = Taught().taught([0, 0, 1], [1, 2, 2]).taught([0, 1], [3, 3])

    taught.scorer.reset(np.array([0]), np.array([2]))

    assert taught.counts(0) == pytest.approx([0.0] * NUM_ITEMS, abs=1e-5)
    assert taught.counts(1) == pytest.approx([0.0] * NUM_ITEMS, abs=1e-5)
    assert taught.scorer.totals[1:4].tolist() == [1.0, 0.0, 2.0]


def test_a_user_beyond_the_table_is_one_without_events() -> None:
    taught = Taught().taught([0], [1])

    context = Histories(6).context(np.array([99]))
    assert taught.scorer.score(context, Candidates.all(NUM_ITEMS)).table()[0].argmax() == 1
    assert Frequency(PLAIN, torch.device("cpu")).score(context, Candidates.all(0)).table().shape == (1, 0)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_dictionaries_over_random_streams(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_life = float(rng.choice([4.0, 1e9]))
    taught = Taught(FrequencyConfig(items_per_user=NUM_ITEMS, half_life_events=half_life))
    counts: dict[tuple[int, int], float] = defaultdict(float)
    totals: dict[int, float] = defaultdict(float)
    basket: dict[int, set[int]] = defaultdict(set)
    for _ in range(12):
        size = int(rng.integers(1, 9))
        users, items = rng.integers(0, NUM_USERS, size).tolist(), rng.integers(0, NUM_ITEMS, size).tolist()
        weights = rng.choice([1.0, 2.0, 0.0], size).tolist()
        taught.taught(users, items, weights)
        seen = [(user, item, weight) for user, item, weight in zip(users, items, weights, strict=True) if weight]
        for user, item in counts:
            counts[user, item] *= 0.5 ** (sum(one == user for one, _, _ in seen) / half_life)
        for user in {user for user, _, _ in seen}:
            basket[user] = {item for one, item, _ in seen if one == user}
        for user, item, weight in seen:
            counts[user, item] += weight
            totals[item] += 1.0

    expected = [
        [0.0 if item in list(basket[user])[:6] else counts[user, item] for item in range(NUM_ITEMS)]
        for user in range(NUM_USERS)
    ]
    assert np.std(expected) > 0.3
    assert np.allclose([taught.counts(user) for user in range(NUM_USERS)], expected, atol=1e-4)


def test_nothing_reset_changes_nothing() -> None:
    taught = Taught().taught([0, 1], [1, 2])
    before = taught.scorer.items.copy(), taught.scorer.counts.copy()

    taught.scorer.reset(NONE, NONE)

    assert np.array_equal(taught.scorer.items, before[0])
    assert np.array_equal(taught.scorer.counts, before[1])
