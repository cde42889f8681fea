"""Each peer lists what it should where the answer is plain."""

import numpy as np
import pytest

from benchmarks.quality.peers import PEERS
from benchmarks.quality.peers.pairs import FadingCounts, SparsePairs, history_matrix
from benchmarks.quality.protocol import PeerContestant, Rules
from tests.benchmarks.streams import PEERS_HERE, last_list, sizes_of, stream_of

NEW = Rules(batch=1)
AGAIN = Rules(batch=1, repeat=True)
DAY_MS = 86_400_000


@pytest.mark.parametrize("name", ["transitions", "markov", "vs-knn", "item-knn", "mixture"])
def test_what_followed_the_users_item_for_others_is_listed_first(name: str) -> None:
    # 0 then 1 for three users, 2 then 3 for three others; user 6 took 0 and is asked what comes.
    users = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    items = [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 0, 1]

    assert last_list(name, stream_of(users, items), NEW)[0] == 1


def test_markov_looks_at_the_newest_item_alone_and_transitions_at_all() -> None:
    # 0 is followed by 2, twice; 1 by 3, once. User 4 took 0 and then 1.
    users = [0, 0, 1, 1, 2, 2, 4, 4, 4]
    items = [0, 2, 0, 2, 1, 3, 0, 1, 3]

    assert last_list("markov", stream_of(users, items), NEW) == [3, 2]
    assert last_list("transitions", stream_of(users, items), NEW) == [2, 3]  # 2 * 0.8 against 1 * 1


def test_transitions_hear_a_rare_item_beside_one_that_anything_follows() -> None:
    # 0 is followed by 2 three times, and by 20 others; 1 is followed by 3 twice. The last user took 1 and then 0.
    pairs = [(0, 2)] * 3 + [(1, 3)] * 2 + [(0, item) for item in range(4, 24)]
    users = [user for user in range(len(pairs)) for _ in range(2)] + [99, 99, 99]
    items = [item for pair in pairs for item in pair] + [1, 0, 3]

    assert last_list("transitions", stream_of(users, items), NEW)[0] == 3  # by counts alone: 2 * 0.8 against 3 * 1


def test_item_knn_prefers_the_item_that_comes_with_nothing_else() -> None:
    # 1 came with 0 and nowhere else; 2 came with 0 as well, but more often alone.
    users = [0, 0, 1, 1, 2, 3, 4, 5, 6, 6]
    items = [0, 1, 0, 2, 2, 2, 2, 2, 0, 1]

    assert last_list("item-knn", stream_of(users, items), NEW)[0] == 1


def test_vs_knn_listens_to_the_sessions_that_share_more_items() -> None:
    # Sessions 0: 0 1 2; 1: 0 3; 2: 0 3. Session 3 holds 0 and 1.
    users = [0, 0, 0, 1, 1, 2, 2, 3, 3, 3]
    items = [0, 1, 2, 0, 3, 0, 3, 0, 1, 2]

    # Session 0 weighs 1 + 2/3 by its two items and 1 by the newest in common, and 2 is the rarer item.
    assert last_list("vs-knn", stream_of(users, items), NEW)[0] == 2


def test_vs_knn_asks_with_the_running_session_where_there_are_sessions() -> None:
    # User 0 took 0 in an old session and 1 in the running one. 0 came with 2 four times, 1 came with 3 once.
    users = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 0, 0, 0]
    items = [0, 2, 0, 2, 0, 2, 0, 2, 1, 3, 0, 1, 3]
    sessions = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 6]

    assert last_list("vs-knn", stream_of(users, items, sessions=sessions), NEW)[0] == 3


def test_the_newest_of_ones_own_items_come_first() -> None:
    users, items = [1, 0, 0, 0, 0], [3, 0, 1, 0, 2]

    stream = stream_of([*users, 0], [*items, 0])

    assert last_list("own-recent", stream, AGAIN) == [2, 0, 1, 3]


def test_ones_own_items_are_known_within_a_sub_step() -> None:
    stream = stream_of([*[1] * 64, 0, 0, 0], [*[i % 4 for i in range(64)], 2, 3, 0])

    assert last_list("own-recent", stream, Rules(repeat=True))[:2] == [3, 2]
    assert set(last_list("own-frequent", stream, Rules(repeat=True))[:2]) == {2, 3}


def test_ones_most_frequent_items_come_first_and_the_basket_last() -> None:
    # User 0 took 1 three times, 0 twice, 2 once; then a new time in which 1 is in the basket already.
    users, items = [0] * 8, [0, 1, 2, 0, 1, 1, 1, 0]
    times = [0, 1, 2, 3, 4, 5, 9, 9]

    assert last_list("own-frequent", stream_of(users, items, times=times), AGAIN) == [0, 2, 1]


@pytest.mark.parametrize(("name", "first"), [("popularity-200", 1), ("popularity-200000", 0)])
def test_popularity_forgets_as_fast_as_its_name_says(name: str, first: int) -> None:
    # Item 0 leads by a hundred events, then item 1 comes four hundred times less two: two half-lives of 200 events.
    users = list(range(900))
    items = [0] * 500 + [1] * 399 + [0]

    assert last_list(name, stream_of(users, items), Rules(repeat=True))[0] == first


def test_popularity_of_seven_days_forgets_on_the_eighth() -> None:
    times = [0, 1, 2, 7 * DAY_MS, 7 * DAY_MS + 3]

    assert last_list("popularity-7d", stream_of([0, 1, 2, 3, 4], [0, 0, 0, 1, 0], times=times), AGAIN)[0] == 1
    times[-1] = 7 * DAY_MS
    assert last_list("popularity-7d", stream_of([0, 1, 2, 3, 4], [0, 0, 0, 1, 0], times=times), AGAIN)[0] == 0


def test_a_day_that_is_over_is_taken_away_once() -> None:
    times = [0, *(8 * DAY_MS + number for number in range(4))]

    # Of item 0 two events are left and one of item 1, however often it was asked meanwhile.
    assert last_list("popularity-7d", stream_of([0, 1, 2, 3, 4], [0, 1, 0, 0, 1], times=times), AGAIN) == [0, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({"isgd", "bpr", "river", "als", "item-item", "sasrec-offline"} & {*PEERS_HERE}))
def test_a_fitted_peer_tells_two_crowds_apart(name: str) -> None:
    chance = np.random.default_rng(0)
    users, items = [], []
    for place in range(2000):  # even users take items 0 to 7, odd ones 8 to 15
        user = place % 20
        users.append(user)
        items.append(int(chance.integers(8)) + 8 * (user % 2))
    items[:16] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15]
    stream = stream_of(users, items)
    contestant = PeerContestant(PEERS[name].make(sizes_of(stream)), stream, Rules(repeat=True))
    contestant.learn(stream.events)
    ranked = contestant.ask(stream.events.take(np.arange(1900, 1964)), np.arange(1900, 1964))

    own_crowd = (ranked.top_rows[:, :5] >= 8) == (stream.events.user_rows[1900:1964] % 2 == 1)[:, None]
    assert own_crowd.mean() > 0.9


def test_pairs_add_up_over_all_levels_and_fade() -> None:
    pairs = SparsePairs(4, half_life_events=2)
    for _ in range(3):
        pairs.add(np.array([0, 0]), np.array([1, 1]), np.ones(2, np.float32), num_events=2)

    found = pairs.weighted(history_matrix(np.array([[0, -1], [2, -1]]), np.ones(2, np.float32), 4), 4)

    # Two each time, worth a half, a quarter and an eighth of that by now.
    assert found.tolist() == [[0.0, 1.75, 0.0, 0.0], [0.0] * 4]


def test_fading_goes_on_where_numbers_would_run_out() -> None:
    counts, pairs = FadingCounts(1, 1.0), SparsePairs(1, 1.0)
    for _ in range(200):
        counts.add(np.array([0]), 1)
        pairs.add(np.array([0]), np.array([0]), np.ones(1, np.float32), 1)

    assert counts.values(1).tolist() == pytest.approx([1.0])  # a half and a quarter and so on
    assert pairs.weighted(history_matrix(np.array([[0]]), np.ones(1, np.float32), 1), 1)[0, 0] == pytest.approx(1.0)
