"""What users own: exact, bounded per user, and memory that is given back."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models.users.owned_items import OwnedItems
from tests.support.streams import NONE


def owned_by(owned: OwnedItems, users: list[int]) -> list[list[int]]:
    places, items = owned.pairs(np.array(users, np.int64))
    return [sorted(items[places == place].tolist()) for place in range(len(users))]


def add(owned: OwnedItems, pairs: list[tuple[int, int]]) -> None:
    owned.add(np.array([user for user, _ in pairs], np.int64), np.array([item for _, item in pairs], np.int64))


def test_users_own_what_was_added_for_them() -> None:
    owned = OwnedItems(100)
    owned.grow(3)
    add(owned, [(0, 5), (2, 6), (0, 7)])

    assert owned_by(owned, [0, 1, 2, 0]) == [[5, 7], [], [6], [5, 7]]


def test_beyond_the_capacity_the_oldest_item_is_forgotten() -> None:
    owned = OwnedItems(3)
    owned.grow(1)
    for item in range(5):
        add(owned, [(0, item)])

    assert owned_by(owned, [0]) == [[2, 3, 4]]


def test_a_reset_user_owns_nothing_and_a_reset_item_is_owned_by_nobody() -> None:
    owned = OwnedItems(100)
    owned.grow(3)
    add(owned, [(0, 5), (0, 6), (1, 5), (2, 6)])

    owned.reset(np.array([2]), np.array([5]))

    assert owned_by(owned, [0, 1, 2]) == [[6], [], []]


def test_the_room_of_reset_users_is_used_again() -> None:
    owned = OwnedItems(100)
    owned.grow(1)
    for _ in range(50):
        add(owned, [(0, item) for item in range(60)])
        owned.reset(np.array([0]), NONE)
    assert owned.num_pooled <= 64


@pytest.mark.slow
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=12), max_size=12))
def test_a_plain_dictionary_agrees(batches: list[list[tuple[int, int]]]) -> None:
    owned, expected = OwnedItems(8), defaultdict(list)
    owned.grow(3)
    for batch in batches:
        new = [pair for pair in dict.fromkeys(batch) if pair[1] not in expected[pair[0]]]
        add(owned, new)
        for user, item in new:
            expected[user].append(item)
        for user in range(3):
            expected[user] = expected[user][-8:]
        assert owned_by(owned, [0, 1, 2]) == [sorted(expected[user]) for user in range(3)]
