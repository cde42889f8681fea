"""Ids that come once own no row: counted exactly, within a limit, and remembered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import Admission, ConfigError, State, StateError, digest, flatten, unflatten


def nobody(_: str) -> bool:
    return False


def passes(admission: Admission, ids: str, counts: str = "") -> str:
    """Return 1 for each event, one letter each, that passes; `counts` has a 0 for one that does not count."""
    counted = np.array([mark != "0" for mark in counts or "1" * len(ids)])
    return "".join(str(int(is_in)) for is_in in admission.admit(list(ids), counted, nobody))


def test_the_event_that_completes_the_count_passes_and_those_before_it_do_not() -> None:
    admission = Admission(3, 10)

    assert passes(admission, "abaab") == "00010"
    assert passes(admission, "b") == "1"


def test_one_event_is_enough_where_one_is_asked_for_whatever_it_is_worth() -> None:
    assert passes(Admission(1, 10), "ab", "01") == "11"


def test_an_event_that_does_not_count_passes_only_after_admission() -> None:
    assert passes(Admission(2, 10), "aaaaa", "10010") == "00011"


def test_an_id_that_owns_a_row_passes_and_is_no_candidate() -> None:
    admission = Admission(2, 10)

    assert admission.admit(["a", "b"], np.array([True, True]), lambda id: id == "a").tolist() == [True, False]
    assert len(admission) == 1


def test_an_admitted_id_that_lost_its_row_begins_anew() -> None:
    admission = Admission(2, 10)

    assert passes(admission, "aa") == "01"
    assert passes(admission, "aa") == "01"


def test_of_too_many_candidates_the_longest_uncounted_is_forgotten() -> None:
    admission = Admission(2, 2)
    passes(admission, "ab")
    passes(admission, "c")

    assert len(admission) == 2
    assert passes(admission, "a") == "0"  # forgotten, and so b is now
    assert passes(admission, "c") == "1"
    assert passes(admission, "b") == "0"


def test_a_flood_of_ids_that_come_once_leaves_no_more_candidates_than_may_be_held() -> None:
    admission = Admission(2, 1_000)
    for begin in range(0, 100_000, 500):
        admission.admit([str(number) for number in range(begin, begin + 500)], np.ones(500, np.bool_), nobody)
        assert len(admission) <= 1_000


@given(st.lists(st.text("abcde", max_size=6), max_size=20), st.integers(1, 4), st.integers(0, 20))
def test_any_stream_passes_as_plain_counting_says_also_after_a_restore(
    batches: list[str], num_needed: int, restored_at: int
) -> None:
    admission, seen = Admission(num_needed, 10), dict[str, int]()
    for number, ids in enumerate(batches):
        if number == restored_at:
            other = Admission(num_needed, 10)
            other.load(unflatten(flatten(admission.state())))
            assert digest(other.state()) == digest(admission.state())
            admission = other
        owners = {id for id, count in seen.items() if count >= num_needed}
        expected = []
        for id in ids:
            seen[id] = seen.get(id, 0) + 1
            expected.append(seen[id] >= num_needed)
        found = admission.admit(list(ids), np.ones(len(ids), np.bool_), owners.__contains__)
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"ids": ["a"]}, "counts: expected this part, got none"),
        ({"ids": ["a", "a"], "counts": np.array([1, 1])}, "ids: expected at most 2, all different, got 2"),
        ({"ids": ["a", "b", "c"], "counts": np.array([1, 1, 1])}, "ids: expected at most 2, all different, got 3"),
        ({"ids": ["a"], "counts": np.array([1, 1])}, "counts: expected int64 [1], got int64 [2]"),
    ],
)
def test_what_is_no_state_of_candidates_is_refused(state: State, message: str) -> None:
    admission = Admission(3, 2)
    admission.admit(["x"], np.array([True]), nobody)
    before = digest(admission.state())

    with pytest.raises(StateError) as refused:
        admission.load(state)
    assert str(refused.value) == message
    assert digest(admission.state()) == before


def test_an_admission_that_admits_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected num_needed and capacity >= 1, got 0 and 5"):
        Admission(0, 5)
