"""What the benchmark promises of every comparison, on streams that fit on a line."""

import numpy as np
import pytest

from benchmarks.quality.children import Job, measure
from benchmarks.quality.ours import OurContestant, listed_ranks
from benchmarks.quality.peers import PEERS
from benchmarks.quality.protocol import Part, PeerContestant, Rules, walk
from benchmarks.quality.stream import Stream, shuffle_ties
from tests.benchmarks.streams import PEERS_HERE, InOrder, Spy, played, sizes_of, stream_of

ONE_BY_ONE = Rules(batch=1)


def test_items_the_user_has_are_no_candidates_and_events_on_them_are_not_evaluated() -> None:
    stream = stream_of([0, 0, 1, 1, 0, 0], [0, 1, 2, 0, 1, 2])

    ranked, _ = played(InOrder(), stream, ONE_BY_ONE)

    assert ranked.places.tolist() == [0, 1, 2, 3, 5]  # number 4 is user 0 on item 1 again
    assert ranked.ranks.tolist()[3:] == [1.0, 1.0]  # user 0 has items 0 and 1, so 2 is the only candidate at the end
    assert ranked.top_rows[-1].tolist()[:2] == [2, -1]


def test_with_repeats_nothing_is_removed_and_everything_is_evaluated() -> None:
    stream = stream_of([0, 0, 1, 1, 0, 0], [0, 1, 2, 0, 1, 2])

    ranked, _ = played(InOrder(), stream, Rules(batch=1, repeat=True))

    assert ranked.places.tolist() == [0, 1, 2, 3, 4, 5]
    assert ranked.ranks.tolist()[3:] == [1.0, 2.0, 3.0]
    assert ranked.top_rows[-1].tolist()[:4] == [0, 1, 2, -1]


def test_an_item_never_seen_before_is_a_miss() -> None:
    ranked, _ = played(InOrder(), stream_of([0, 0, 0], [0, 1, 2]), ONE_BY_ONE)

    assert ranked.ranks.tolist() == [np.inf] * 3


def test_equal_scores_get_the_middle_of_their_ranks() -> None:
    stream = stream_of([0, 0, 0, 0, 1], [0, 1, 2, 3, 1])

    ranked, _ = played(Spy(), stream, ONE_BY_ONE)

    assert ranked.ranks[-1] == 2.5  # one of four alike


def test_an_item_of_the_same_sub_step_is_not_known_but_owned() -> None:
    stream = stream_of([0, 1, 1, 1], [0, 1, 1, 0])

    ranked, _ = played(Spy(), stream, Rules(batch=4))

    assert ranked.places.tolist() == [0, 1, 3]
    assert ranked.ranks.tolist() == [np.inf] * 3


def test_sub_steps_of_64_events_are_ranked_by_the_state_before_them() -> None:
    spy = Spy()

    played(spy, stream_of([0] * 200, list(range(200))), Rules(batch=128))

    assert spy.num_learned_when_asked == [64, 128, 192]  # before the first nothing is known, so it is not asked


@pytest.mark.parametrize(("history", "newest"), [("fresh", [[0, -1], [1, 0]]), ("stale", [[0, -1], [0, -1]])])
def test_fresh_histories_hold_the_event_before_and_stale_ones_end_with_the_batch(
    history: str, newest: list[list[int]]
) -> None:
    spy = Spy()

    # Two batches of 2: user 0 takes item 0 in the first and items 1 and 2 in the second.
    played(spy, stream_of([1, 0, 0, 0], [3, 0, 1, 2]), Rules(batch=2, history=history))

    assert spy.asked[-1].context.item_rows[:, :2].tolist() == newest


def test_stale_means_that_nothing_of_the_batch_is_learned_before_all_of_it_is_ranked() -> None:
    spy = Spy()

    played(spy, stream_of([0] * 256, list(range(256))), Rules(batch=128, history="stale"))

    assert spy.num_learned_when_asked == [128, 128]


def test_what_is_new_and_what_lies_in_the_basket_is_told() -> None:
    spy = Spy()

    played(spy, stream_of([0, 0, 0, 0], [0, 1, 2, 3], sessions=[0, 1, 1, 1]), Rules(batch=1))
    assert [asked.basket_sizes.tolist() for asked in spy.asked] == [[0], [1], [2]]

    played(spy, stream_of([0, 0, 0, 0], [0, 1, 2, 3], times=[0, 5, 5, 5]), Rules(batch=2))
    assert spy.asked[-1].basket_sizes.tolist() == [1, 2]
    assert spy.asked[-1].num_new.tolist() == [0, 1]

    played(spy, stream_of([0, 0, 0, 0], [0, 1, 2, 3], times=[0, 5, 5, 5]), Rules(batch=2, history="stale"))
    assert spy.asked[-1].basket_sizes.tolist() == [1, 1]
    assert spy.asked[-1].num_new.tolist() == [0, 0]


def test_users_without_an_earlier_event_are_reported_apart() -> None:
    stream = stream_of([0, 0, 1, 1, 2], [0, 1, 0, 1, 1])

    _, tally = played(InOrder(), stream, ONE_BY_ONE)
    figures = tally.figures()

    # Cold: events 0 (a miss), 2 (rank 1), 4 (rank 2). Warm: 1 (a miss) and 3 (rank 1: item 0 is owned).
    assert figures["num_evaluated"] == 2
    assert figures["mrr_at_10"] == 0.5
    assert figures["cold_users"]["num_evaluated"] == 3
    assert figures["cold_users"]["mrr_at_10"] == 0.5


@pytest.mark.parametrize(("batch", "num_known"), [(1, 4), (2, 3), (4, 2), (6, 0)])
def test_users_first_met_in_the_same_batch_are_left_out_of_one_figure(batch: int, num_known: int) -> None:
    stream = stream_of([0, 0, 1, 0, 1, 1], [0, 1, 2, 3, 4, 5])

    _, tally = played(InOrder(), stream, Rules(batch=batch))
    figures = tally.figures()

    assert figures["num_evaluated"] == 4
    assert figures["known_before_batch"]["num_evaluated"] == num_known
    assert figures["known_before_batch"]["last_half"]["num_evaluated"] == min(num_known, 3)


def test_left_out_at_the_end_everybody_is_known() -> None:
    stream = stream_of([0, 0, 1, 1, 2], [0, 1, 0, 1, 1])

    _, tally = played(InOrder(), stream, Rules(batch=2, leave_one_out=True))

    assert tally.figures()["known_before_batch"]["num_evaluated"] == tally.figures()["num_evaluated"] == 2


def test_the_stream_is_reported_by_tenths_halves_and_its_end() -> None:
    stream = stream_of([0] + [1] * 10, [0, *range(1, 10), 0])  # of user 1 only the last event is of an item known

    _, tally = played(InOrder(), stream, ONE_BY_ONE)
    figures = tally.figures()

    assert [part["num_evaluated"] for part in figures["by_tenth"]] == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [part["hr_at_10"] for part in figures["by_tenth"]] == [None] + [0.0] * 8 + [1.0]
    assert figures["last_half"]["hr_at_10"] == pytest.approx(1 / 5)
    assert figures["last_fifth"]["hr_at_10"] == pytest.approx(1 / 2)
    assert figures["first_tenth"]["hr_at_10"] is None


def test_coverage_counts_items_that_were_ever_listed() -> None:
    stream = stream_of([0, *[1] * 11, 0, 2], [0, *range(11), 11, 0])

    _, tally = played(InOrder(), stream, ONE_BY_ONE)

    # Twelve items. User 0 is shown 1 to 10 at its second event, user 2 the items 0 to 9.
    assert tally.figures()["coverage_at_10"] == pytest.approx(11 / 12)


def test_ties_in_time_are_shuffled_by_the_seed_and_times_are_not() -> None:
    stream = stream_of([0] * 12, list(range(12)), times=[0] * 6 + [7] * 6, sessions=[0] * 12)

    orders = [shuffle_ties(stream, seed) for seed in (0, 0, 1)]

    assert all(order.events.times_ms.tolist() == [0] * 6 + [7] * 6 for order in orders)
    # Rows are given by first coming, so the order shows in a stream where items come twice.
    twice = stream_of([0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 0, 1, 2, 3], times=[0] * 4 + [1] * 4)
    one, same, other = (shuffle_ties(twice, seed).events.item_rows.tolist() for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_leave_one_out_learns_all_but_the_last_event_of_each_user_and_asks_for_those() -> None:
    spy = Spy()
    stream = stream_of([0, 1, 0, 1, 2], [0, 1, 2, 0, 1])

    ranked, tally = played(spy, stream, Rules(batch=2, leave_one_out=True))

    assert spy.learned == [0, 1]
    assert ranked.places.tolist() == [2, 3, 4]
    assert ranked.ranks.tolist() == [np.inf, 1.0, 1.5]
    assert spy.asked[0].context.item_rows[:, 0].tolist() == [0, 1]
    assert tally.figures()["num_evaluated"] == 2
    assert tally.figures()["cold_users"]["num_evaluated"] == 1


def test_a_part_of_the_stream_can_be_evaluated_and_all_is_learned() -> None:
    spy = Spy()
    stream = stream_of([0] * 10, list(range(10)))
    places = []
    contestant = PeerContestant(spy, stream, ONE_BY_ONE, Part(begins=0.5, every=2))

    walk(stream, contestant, ONE_BY_ONE, lambda done, items, ranked: places.extend(ranked.places.tolist()))

    assert places == [5, 7, 9]
    assert spy.learned == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS_HERE)
@pytest.mark.parametrize("history", ["fresh", "stale"])
def test_no_peer_sees_what_it_is_asked_or_what_comes_later(name: str, history: str) -> None:
    past = np.random.default_rng(3)
    users, items = past.integers(6, size=150), past.integers(20, size=150)
    lists = []
    for future in (1, 2):
        later = np.random.default_rng(future)
        stream = stream_of(
            [*users, *later.integers(6, size=90)], [*range(20), *items[20:], *later.integers(20, size=90)]
        )
        stream = _with_the_same_asker(stream, users)
        ranked, _ = played(PEERS[name].make(sizes_of(stream)), stream, Rules(repeat=True, history=history, batch=64))
        lists.append(ranked.top_rows[ranked.places <= 150])
        assert np.isfinite(ranked.ranks[ranked.places >= 64]).all()
    assert np.array_equal(*lists)


def _with_the_same_asker(stream: Stream, users: np.ndarray) -> Stream:
    rows = stream.events.user_rows.copy()
    rows[150] = users[0]
    return stream_of(rows.tolist(), stream.events.item_rows.tolist())


@pytest.mark.parametrize("rules", [Rules(), Rules(repeat=True), Rules(batch=100, repeat=True)])
def test_our_model_is_asked_about_the_same_events_as_the_peers(rules: Rules) -> None:
    chance = np.random.default_rng(0)
    stream = stream_of(chance.integers(9, size=300).tolist(), chance.integers(40, size=300).tolist())
    stream = shuffle_ties(stream, 0)  # rows by first coming
    places: list[int] = []
    walk(stream, OurContestant(stream, rules), rules, lambda done, items, ranked: places.extend(ranked.places.tolist()))

    ranked, _ = played(Spy(), stream, rules)

    assert places == ranked.places.tolist()


@pytest.mark.parametrize(
    "rules", [Rules(history="stale"), Rules(leave_one_out=True), Rules(repeat=True, history="stale")]
)
def test_our_model_is_ranked_by_its_lists_where_it_is_asked_outside_of_a_step(rules: Rules) -> None:
    users, items = [user for _ in range(30) for user in range(4)], [i % 10 for i in range(120)]
    stream = shuffle_ties(stream_of(users, items), 0)

    figures = measure(Job(name="default", stream=stream, rules=rules))
    ranked, _ = played(Spy(), stream, rules)

    num_evaluated = figures["num_evaluated"] + figures["cold_users"]["num_evaluated"]
    assert num_evaluated == len(ranked.places)
    assert len(figures["fusion_weights_by_tenth"]) >= 9
    assert figures["ms_rank"] > 0


def test_a_rank_is_read_from_a_list_with_equal_scores_in_the_middle() -> None:
    listed = np.array([[3, 1, 2, 0]] * 5)
    scores = np.array([[0.5, 0.2, 0.2, 0.1]] * 4 + [[0.5, 0.5, 0.0, 0.0]])

    ranks = listed_ranks(listed, scores, np.array([3, 1, 0, 9, 0]))

    assert ranks.tolist() == [1.0, 2.5, 4.0, np.inf, 4.0]
