"""How much of a list was in the one before it, remembered in bounded memory."""

import numpy as np

from stream.telemetry.list_overlap import PreviousLists


def replace(previous: PreviousLists, lists: dict[int, list[int]]) -> list[float]:
    users = np.array(list(lists), np.int64)
    return previous.replace(users, np.array(list(lists.values()), np.int64).reshape(len(lists), -1)).tolist()


def test_the_first_list_of_a_user_has_nothing_to_be_compared_with() -> None:
    previous = PreviousLists(k=2)

    assert replace(previous, {0: [4, 5], 7: [4, 5]}) == []
    assert replace(previous, {7: [4, 5], 8: [4, 5]}) == [1.0]


def test_overlap_counts_shared_items_whatever_their_places() -> None:
    previous = PreviousLists(k=4)
    replace(previous, {1: [10, 11, 12, 13], 2: [10, 11, 12, 13]})

    assert replace(previous, {2: [20, 21, 22, 23], 1: [13, 20, 10, 11]}) == [0.0, 0.75]
    assert replace(previous, {1: [13, 20, 10, 11]}) == [1.0]


def test_a_short_list_is_measured_by_its_own_length_and_empty_places_are_no_items() -> None:
    previous = PreviousLists(k=3)
    replace(previous, {1: [10, -1, -1], 2: [10, -1, -1]})

    assert replace(previous, {1: [10, 11, -1], 2: [-1, -1, -1]}) == [0.5]


def test_a_row_that_went_to_another_user_is_forgotten() -> None:
    previous = PreviousLists(k=2)
    replace(previous, {1: [10, 11], 2: [10, 11]})

    previous.forget(np.array([1, 5]))

    assert replace(previous, {1: [10, 11], 2: [10, 12]}) == [0.5]


def test_memory_is_bounded_and_users_that_share_a_slot_displace_each_other() -> None:
    previous = PreviousLists(k=2, max_cells=6)  # three slots
    replace(previous, {1: [10, 11], 2: [10, 11]})
    replace(previous, {4: [20, 21]})  # the slot of user 1

    assert replace(previous, {1: [10, 11]}) == []
    assert replace(previous, {2: [10, 11]}) == [1.0]


def test_two_users_of_one_slot_in_one_batch_do_not_mix_their_lists() -> None:
    previous = PreviousLists(k=1, max_cells=2)
    replace(previous, {1: [10], 3: [30]})  # both in slot 1: the last one stays

    assert replace(previous, {3: [30], 1: [30]}) == [1.0]
    assert replace(previous, {1: [30]}) == [1.0]
