"""A repeated event id is recognised within the window, per partition."""

from typing import Any

import numpy as np
import pytest

from online_models import StateError, digest, flatten, unflatten
from stream.ingest.deduplication import Deduplicator


def test_the_second_event_with_an_id_is_a_repetition() -> None:
    seen = Deduplicator(window=10)

    assert [seen.is_repetition(0, "e1"), seen.is_repetition(0, "e2"), seen.is_repetition(0, "e1")] == [
        False,
        False,
        True,
    ]


def test_events_without_an_id_are_never_repetitions() -> None:
    seen = Deduplicator(window=10)

    assert not seen.is_repetition(0, None)
    assert not seen.is_repetition(0, None)


def test_an_id_is_forgotten_when_the_window_has_moved_past_it() -> None:
    seen = Deduplicator(window=2)
    for event_id in ("e1", "e2", "e3"):
        seen.is_repetition(0, event_id)

    assert len(seen) == 2
    assert seen.is_repetition(0, "e3")
    assert not seen.is_repetition(0, "e1")


def test_partitions_have_windows_of_their_own() -> None:
    seen = Deduplicator(window=10)
    seen.is_repetition(0, "e1")

    assert not seen.is_repetition(1, "e1")


def test_a_window_of_zero_switches_it_off() -> None:
    seen = Deduplicator(window=0)
    seen.is_repetition(0, "e1")

    assert not seen.is_repetition(0, "e1")
    assert len(seen) == 0


def fed(seed: int, num_events: int, window: int = 50) -> Deduplicator:
    """Return one that has seen events of twelve partitions, a third of them repetitions."""
    seen = Deduplicator(window)
    for partition, event_id in events(seed, num_events):
        seen.is_repetition(partition, event_id)
    return seen


def events(seed: int, num_events: int) -> list[tuple[int, str]]:
    rng = np.random.default_rng(seed)
    partitions = rng.integers(0, 12, num_events).tolist()
    return [(p, f"é{number}") for p, number in zip(partitions, rng.integers(0, 800, num_events), strict=True)]


def test_the_oldest_id_is_forgotten_first_whatever_was_repeated() -> None:
    seen = Deduplicator(window=2)
    for event_id in ("e1", "e2", "e1", "e3"):  # the repetition does not make e1 any newer
        seen.is_repetition(0, event_id)

    assert seen.is_repetition(0, "e2")
    assert not seen.is_repetition(0, "e1")


@pytest.mark.parametrize("cut", [0, 1, 300, 3000])
def test_a_restored_deduplicator_knows_what_the_original_knows(cut: int) -> None:
    original, copy = fed(1, cut), Deduplicator(window=50)
    copy.load(unflatten(flatten(original.state())))

    later = events(2, 3000)
    answers = [original.is_repetition(*event) for event in later]
    assert [copy.is_repetition(*event) for event in later] == answers
    assert 0 < sum(answers) < 3000
    assert digest(copy.state()) == digest(original.state())


def test_a_state_holds_ids_by_partition_number_oldest_first() -> None:
    seen = Deduplicator(window=2)
    for partition, event_id in ((10, "a"), (2, "b"), (10, "c"), (10, "d")):
        seen.is_repetition(partition, event_id)

    state = seen.state()

    assert {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()} == {
        "window": 2,
        "partitions": [2, 10],
        "lengths": [1, 2],
        "ids": ["b", "c", "d"],
    }


def test_the_digest_does_not_tell_in_which_order_the_partitions_came() -> None:
    one, other = Deduplicator(window=5), Deduplicator(window=5)
    for partition in (0, 1):
        one.is_repetition(partition, "e")
        other.is_repetition(1 - partition, "e")

    assert digest(one.state()) == digest(other.state())
    assert digest(one.state()) != digest(Deduplicator(window=5).state())


def test_a_state_of_a_deduplicator_does_not_change_with_later_events() -> None:
    seen = fed(1, 1000)
    state = seen.state()
    before = digest(state)
    copy = Deduplicator(window=50)
    copy.load(state)

    for event in events(2, 1000):
        seen.is_repetition(*event)
        copy.is_repetition(*event)

    assert digest(state) == before


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("window", 3, r"dedup/window: expected 2, got 3"),
        ("window", None, r"dedup/window: expected int, got nothing"),
        ("ids", np.zeros(3), r"dedup/ids: expected list, got ndarray"),
        ("more", 1, r"dedup/more: expected nothing, got int"),
        ("partitions", np.array([7, 4]), r"dedup/partitions: expected rising numbers, got \[7, 4\]"),
        ("partitions", np.array([4, 4]), r"dedup/partitions: expected rising numbers, got \[4, 4\]"),
        ("partitions", np.array([4.0, 7.0]), r"dedup/partitions: expected a row of int64, got \[2\] float64"),
        ("partitions", np.array([4]), r"dedup/lengths: expected 1 to 2 for each of 1 partitions"),
        ("lengths", np.array([[1, 2]]), r"dedup/lengths: expected a row of int64, got \[1, 2\] int64"),
        ("lengths", np.array([0, 3]), r"dedup/lengths: expected 1 to 2 for each of 2 partitions, 3 in all"),
        ("lengths", np.array([2, 2]), r"dedup/lengths: expected 1 to 2 for each of 2 partitions, 3 in all"),
        ("ids", ["a", "b", "b"], r"dedup/ids: expected every id of partition 7 once, got repetitions"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(part: str, value: Any, message: str) -> None:
    state = {
        "window": 2,
        "partitions": np.array([4, 7]),
        "lengths": np.array([1, 2]),
        "ids": ["a", "b", "c"],
        part: value,
    }
    seen = Deduplicator(window=2)
    seen.is_repetition(0, "mine")
    before = digest(seen.state())

    with pytest.raises(StateError, match=message):
        seen.load({name: value for name, value in state.items() if value is not None})

    assert digest(seen.state()) == before
