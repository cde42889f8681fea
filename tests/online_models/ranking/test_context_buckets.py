"""Each fact of a situation at its borders, worked by hand."""

import numpy as np
import pytest

from online_models import NO_ROW
from online_models.ranking.context_buckets import NUM_FACTS, num_situations, situations_of
from online_models.users.history import Context, Histories
from tests.support.streams import events

LENGTH = 8
ALL, LENGTHS, GAPS, REPETITIONS, BASKETS = 0, 1, 6, 21, 32
"""First bucket of each fact: of 1, then of 5 (none to eight events by powers of two), 15, 11 and 5 again."""
NUM_BUCKETS = 37


def asked(items: list[int], times_ms: list[int] | None = None, length: int = LENGTH) -> Context:
    """Return a question with this history, newest first; by default an hour lies between two events."""
    times_ms = times_ms if times_ms is not None else [-3_600_000 * place for place in range(len(items))]
    empty = length - len(items)
    return Context(
        user_rows=np.zeros(1, np.int64),
        item_rows=np.array([items + [NO_ROW] * empty], np.int64),
        event_types=np.zeros((1, length), np.int8),
        times_ms=np.array([times_ms + [0] * empty], np.int64),
    )


def facts(context: Context) -> list[int]:
    """Return the bucket of each fact, counted from its own first one."""
    more = context.item_rows.shape[1].bit_length() - LENGTH.bit_length()  # powers of two in a longer history
    found = situations_of(context) - [ALL, LENGTHS, GAPS + more, REPETITIONS + more, BASKETS + more]
    return [int(bucket) for bucket in found[0]]


def test_a_user_without_history_is_in_the_first_bucket_of_every_fact() -> None:
    assert situations_of(asked([])).tolist() == [[ALL, LENGTHS, GAPS, REPETITIONS, BASKETS]]
    assert num_situations(LENGTH) == NUM_BUCKETS


def test_times_left_over_in_an_empty_history_are_no_basket_and_no_gap() -> None:
    assert facts(asked([], [])) == facts(asked([NO_ROW] * 3, [50, 50, 20])) == [0, 0, 0, 0, 0]


def test_one_event_has_a_length_and_a_basket_and_neither_gap_nor_repetition() -> None:
    assert facts(asked([5], [0])) == [0, 1, 0, 0, 1]
    assert facts(asked([5], [1_000_000])) == [0, 1, 0, 0, 1]  # the places after it hold time 0


@pytest.mark.parametrize(("held", "bucket"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4)])
def test_lengths_share_a_bucket_up_to_the_next_power_of_two(held: int, bucket: int) -> None:
    assert facts(asked(list(range(held))))[1] == bucket


@pytest.mark.parametrize(
    ("gap_ms", "bucket"),
    # A bucket ends where gap / 250 + 1 is a power of four: at 0, 750, 3750, 15,750 ms, and so on by fours.
    [(0, 1), (1, 2), (750, 2), (751, 3), (3750, 3), (3751, 4), (15_750, 4), (15_751, 5), (3_600_000, 8)],
)
def test_gaps_share_a_bucket_up_to_four_times_as_long_a_one(gap_ms: int, bucket: int) -> None:
    assert facts(asked([1, 2], [10_000_000, 10_000_000 - gap_ms]))[2] == bucket


def test_the_longest_gaps_share_the_last_bucket() -> None:
    # 250 ms times 4**12 are 48.5 days and end the bucket before.
    assert facts(asked([1, 2], [250 * (4**12 - 1), 0]))[2] == 13
    assert facts(asked([1, 2], [250 * (4**12 - 1) + 1, 0]))[2] == 14
    assert facts(asked([1, 2], [2**63 - 1, -(2**63)]))[2] == 14  # whose difference no int64 holds


def test_a_gap_is_that_between_the_two_newest_events_alone() -> None:
    assert facts(asked([1, 2, 3], [800, 100, -(10**9)]))[2] == facts(asked([1, 2], [700, 0]))[2] == 2


def test_an_event_older_than_the_one_before_it_counts_as_no_gap() -> None:
    assert facts(asked([1, 2], [100, 5000]))[2] == 1


@pytest.mark.parametrize(
    ("items", "bucket"),
    [
        ([1, 2], 1),  # none repeated
        ([1, 2, 3, 4, 5], 1),
        ([9, 1, 2, 3, 4, 5, 1], 2),  # one in six: the newer 1
        ([9, 1, 2, 3, 1], 2),  # one in four, the border
        ([9, 1, 2, 1], 3),  # one in three
        ([9, 1, 1, 1, 2], 3),  # two in four, the border
        ([9, 1, 1, 1], 4),  # two in three
        ([9, 1, 1, 1, 1], 4),  # three in four, the border
        ([9, 1, 1, 1, 1, 1], 5),  # four in five
        ([1, 1], 10),  # all, the newest too
        ([1, 2, 3, 1], 8),  # one in three, the newest
        ([1, 2, 3, 4, 1], 7),  # one in four, the newest
        ([1, 1, 1, 2], 9),  # two in three, the newest too
        ([1, 1, 1, 1, 1, 1, 1, 1], 10),
    ],
)
def test_repetition_is_a_share_in_quarters_and_whether_the_newest_is_repeated(items: list[int], bucket: int) -> None:
    assert facts(asked(items))[3] == bucket


def test_repetition_looks_at_the_newest_twenty_events_alone() -> None:
    different = list(range(20))

    assert facts(asked([*different, 0, 1, 2], length=30))[3] == 1  # repeated outside of them
    assert facts(asked([*different[:19], 0], length=30))[3] == 7  # the twentieth is the newest again: one in 19


@pytest.mark.parametrize(
    ("times_ms", "bucket"),
    [
        ([7, 6, 5, 4], 1),
        ([7, 7, 5, 4], 2),
        ([7, 7, 7, 4], 2),
        ([7, 7, 7, 7], 3),
        ([7, 6, 6, 6], 1),  # an older basket is none
        ([0] * 7, 3),  # of time 0 like the empty place behind them, which is no event
        ([0] * 8, 4),
        ([7, 7, 6, 7], 2),  # a late event of the same time is of the basket too
    ],
)
def test_a_basket_is_what_shares_the_time_of_the_newest(times_ms: list[int], bucket: int) -> None:
    assert facts(asked(list(range(len(times_ms))), times_ms))[4] == bucket


@pytest.mark.parametrize(("length", "longest"), [(2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (50, 6), (64, 7), (1000, 10)])
def test_the_fullest_history_has_a_bucket(length: int, longest: int) -> None:
    # Of L events in one basket the length and the basket are at their most.
    found = facts(asked([1] * length, [5] * length, length=length))

    assert found == [0, longest, 1, 10, longest]
    assert num_situations(length) >= 1 + (longest + 1) + 15 + 11 + (longest + 1)


def test_no_two_facts_share_a_bucket() -> None:
    rng = np.random.default_rng(0)
    seen: list[set[int]] = [set() for _ in range(NUM_FACTS)]
    for _ in range(400):
        held = int(rng.integers(0, LENGTH + 1))
        times = -np.sort(rng.integers(0, 4, held) * 10 ** rng.integers(0, 11, held))
        items = rng.integers(0, rng.integers(1, 9), held)
        found = situations_of(asked(items.tolist(), times.tolist()))[0]
        for fact, bucket in enumerate(found.tolist()):
            seen[fact].add(bucket)

    ranges = [range(1), range(1, 6), range(6, 21), range(21, 32), range(32, 37)]
    assert all(buckets <= set(places) for buckets, places in zip(seen, ranges, strict=True))
    assert len(seen[2]) >= 12
    # A repeated newest event is one repetition at least, so of the eleven buckets the sixth is never used.
    assert seen[3] <= set(ranges[3]) - {21 + 6}
    assert len(seen[3]) >= 9


def test_many_questions_are_each_in_the_situation_they_would_be_in_alone() -> None:
    histories = Histories(LENGTH)
    histories.write(histories.plan(events([0, 0, 1, 2, 2, 2], [1, 1, 5, 1, 2, 3], [0, 0, 5, 0, 250, 250])).after)
    users = np.array([2, 9, 0, 1])

    together = situations_of(histories.context(users))

    alone = [situations_of(histories.context(users[place : place + 1]))[0].tolist() for place in range(4)]
    assert together.tolist() == alone
    assert together.dtype == np.int64
    # User 2, newest first: 3 and 2 at 250 ms, 1 at 0 ms: three events, no gap, none repeated, a basket of two.
    assert together[0].tolist() == [0, LENGTHS + 2, GAPS + 1, REPETITIONS + 1, BASKETS + 2]
    assert together[1].tolist() == [0, LENGTHS, GAPS, REPETITIONS, BASKETS]
