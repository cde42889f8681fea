"""What is taken together within sessions, worked by hand and against dictionaries."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from online_models import NO_ROW, TransitionsConfig
from online_models.scorers.item_neighbours import ItemNeighbours
from online_models.scorers.session_cooccurrence import SESSION_GAP_MS, SessionCooccurrence
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import events

NUM_USERS, NUM_ITEMS = 6, 10
PLAIN = TransitionsConfig(num_recent=3, position_decay=1.0, half_life_events=1e9, num_slots=16)
NOTHING = math.log(0.03)
"""Score of what was never in one session."""
DAY_MS = 24 * 3_600_000


class Taught:
    """A memory and the histories it reads."""

    def __init__(self, config: TransitionsConfig = PLAIN) -> None:
        self.scorer = ItemNeighbours(config, SessionCooccurrence(), torch.device("cpu"))
        self.histories = Histories(8)
        self.scorer.grow(NUM_USERS, NUM_ITEMS)
        self.histories.grow(NUM_USERS)

    def taught(
        self, users: list[int], items: list[int], times_ms: list[int], weights: list[float] | None = None
    ) -> "Taught":
        step = self.histories.plan(events(users, items, times_ms, weights))
        assert self.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
        self.histories.write(step.after)
        return self

    def scores(self, user: int) -> list[float]:
        return (
            self.scorer.score(self.histories.context(np.array([user])), Candidates.all(NUM_ITEMS)).table()[0].tolist()
        )

    def pairs(self) -> set[tuple[int, int]]:
        state = self.scorer.state()
        sources, slots = np.nonzero(state["neighbours"] != NO_ROW)
        return set(zip(sources.tolist(), state["neighbours"][sources, slots].tolist(), strict=True))


def both_ways(*pairs: tuple[int, int]) -> set[tuple[int, int]]:
    return {pair for one, other in pairs for pair in ((one, other), (other, one))}


def test_pairs_of_one_basket_count_and_those_of_two_do_not() -> None:
    found = Taught().taught([0] * 4, [1, 2, 3, 4], [0, 0, DAY_MS, DAY_MS]).pairs()

    assert found == both_ways((1, 2), (3, 4))


def test_a_session_goes_on_as_long_as_no_pause_is_longer_than_the_gap() -> None:
    times = [0, SESSION_GAP_MS, 2 * SESSION_GAP_MS, 3 * SESSION_GAP_MS + 1]

    found = Taught().taught([0] * 4, [1, 2, 3, 4], times).pairs()

    assert found == both_ways((1, 2), (1, 3), (2, 3))


def test_sessions_are_those_of_one_user() -> None:
    assert Taught().taught([0, 1, 0, 1], [1, 2, 3, 4], [0] * 4).pairs() == both_ways((1, 3), (2, 4))


def test_only_the_running_session_is_asked() -> None:
    taught = Taught().taught([0, 0, 1, 1], [1, 2, 3, 4], [0] * 4)
    taught.taught([2, 2], [1, 3], [0, DAY_MS])

    # 3 and 4 came twice and once, and each has one event more, which it is taken to have.
    cosine = 1 / math.sqrt(3 * 2)
    scores = taught.scores(2)
    assert scores[4] == pytest.approx(math.log(cosine**1.5 + 0.03), abs=1e-5)
    assert scores[2] == pytest.approx(NOTHING, abs=1e-6)


def test_one_strong_neighbour_counts_for_more_than_two_half_as_strong() -> None:
    baskets = [(1, 5), (1, 5), (1, 6), (2, 6)]
    taught = Taught()
    for place, basket in enumerate(baskets):
        taught.taught([0, 0], list(basket), [place * DAY_MS] * 2)
    taught.taught([1, 1, 2], [1, 2, 3], [0] * 3)

    # 1 came four times, 2 twice, 5 and 6 twice; pairs: 1 and 5 twice, 1 and 6 once, 2 and 6 once.
    strong = 2 / math.sqrt(5 * 3)
    weak = 1 / math.sqrt(5 * 3), 1 / math.sqrt(3 * 3)
    scores = taught.scores(1)
    assert scores[5] == pytest.approx(math.log(strong**1.5 + 0.03), abs=1e-5)
    assert scores[6] == pytest.approx(math.log(sum(cosine**1.5 for cosine in weak) + 0.03), abs=1e-5)
    assert sum(weak) > strong
    assert scores[5] > scores[6]


def test_an_older_item_of_the_session_is_worth_as_much_as_the_newest() -> None:
    taught = Taught().taught([0, 0, 1, 1], [1, 5, 2, 6], [0] * 4)
    taught.taught([2, 2], [1, 2], [0, 0])

    scores = taught.scores(2)
    assert scores[5] == pytest.approx(scores[6])
    assert scores[5] > NOTHING + 1


def test_the_end_of_time_is_a_gap_like_any_other() -> None:
    taught = Taught().taught([0, 0], [1, 2], [-(2**62), 2**62])

    assert taught.pairs() == set()
    assert taught.scores(0) == pytest.approx([NOTHING] * NUM_ITEMS, abs=1e-6)


def test_a_late_event_belongs_to_the_session_of_its_own_time() -> None:
    taught = Taught().taught([0, 0, 0], [1, 2, 3], [0, DAY_MS, 60_000])

    assert taught.pairs() == both_ways((1, 3))


def test_a_user_without_history_has_no_basket() -> None:
    assert Taught().taught([0, 0], [1, 2], [0, 0]).scores(5) == pytest.approx([NOTHING] * NUM_ITEMS, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_scores_are_those_of_dictionaries_over_random_streams(seed: int) -> None:
    rng = np.random.default_rng(seed)
    half_life = float(rng.choice([20.0, 1e9]))
    taught = Taught(TransitionsConfig(num_recent=3, position_decay=1.0, half_life_events=half_life, num_slots=16))
    near: dict[tuple[int, int], float] = defaultdict(float)
    counts: dict[int, float] = defaultdict(float)
    past: dict[int, list[tuple[int, int]]] = defaultdict(list)
    now = 0

    def running(user: int, since: int | None) -> list[int]:
        """Items of the newest three that no gap parts from ``since``, or from the newest where that is None."""
        found = []
        for item, time in past[user][:3]:
            if since is not None and since - time > SESSION_GAP_MS:
                break
            found.append(item)
            since = time
        return found

    for _ in range(12):
        size = int(rng.integers(1, 9))
        users, items = rng.integers(0, NUM_USERS, size).tolist(), rng.integers(0, NUM_ITEMS, size).tolist()
        steps = rng.choice([0, 0, 60_000, SESSION_GAP_MS // 2, DAY_MS], size).cumsum()
        times = (now + steps).tolist()
        now = times[-1]
        weights = rng.choice([1.0, 1.0, 2.0, 0.0], size).tolist()
        taught.taught(users, items, times, weights)
        for user, item, time, weight in zip(users, items, times, weights, strict=True):
            for source in running(user, time):
                near[source, item] += weight
                near[item, source] += weight
            counts[item] += weight
            past[user] = [(item, time), *past[user]] if weight > 0 else past[user]
        for faded in (near, counts):
            for key in faded:
                faded[key] *= 0.5 ** (size / half_life)

    def score(user: int, item: int) -> float:
        cosines = [
            near[source, item] / math.sqrt((counts[source] + 1) * (counts[item] + 1)) for source in running(user, None)
        ]
        return math.log(sum(cosine**1.5 for cosine in cosines) + 0.03)

    expected = [[score(user, item) for item in range(NUM_ITEMS)] for user in range(NUM_USERS)]
    assert np.std(expected) > 0.2
    assert np.allclose([taught.scores(user) for user in range(NUM_USERS)], expected, atol=1e-4)
