"""A repeated event id is recognised within the window, per partition."""

from typing import Any

import numpy as np
import pytest

from online_models import StateError, digest, flatten, unflatten
from stream.ingest.deduplication import Deduplicator, Sighting, event_print
from stream.wire.schema import Event


def click(event_id: str | None, **fields: Any) -> Event:
    return Event(**({"user": "ana", "item": "a", "type": "click", "id": event_id} | fields))


def repeats(seen: Deduplicator, partition: int, event_id: str | None) -> bool:
    return seen.sight(partition, click(event_id)) is Sighting.REPETITION


def test_the_second_event_with_an_id_is_a_repetition() -> None:
    seen = Deduplicator(window=10)

    assert [repeats(seen, 0, "e1"), repeats(seen, 0, "e2"), repeats(seen, 0, "e1")] == [
        False,
        False,
        True,
    ]


def test_events_without_an_id_are_never_repetitions() -> None:
    seen = Deduplicator(window=10)

    assert not repeats(seen, 0, None)
    assert not repeats(seen, 0, None)


def test_an_id_is_forgotten_when_the_window_has_moved_past_it() -> None:
    seen = Deduplicator(window=2)
    for event_id in ("e1", "e2", "e3"):
        repeats(seen, 0, event_id)

    assert len(seen) == 2
    assert repeats(seen, 0, "e3")
    assert not repeats(seen, 0, "e1")


@pytest.mark.parametrize(
    "other", [{"user": "ben"}, {"item": "b"}, {"type": "view"}, {"value": 2.0}, {"value": 0.0}], ids=str
)
def test_another_event_under_a_known_id_is_no_repetition_and_told_apart(other: dict[str, Any]) -> None:
    seen = Deduplicator(window=10)
    events = [click("e1"), click("e1", **other), click("e1"), click("e1", **other)]

    assert [seen.sight(0, event) for event in events] == [
        Sighting.NEW,
        Sighting.REUSED_ID,
        Sighting.REPETITION,
        Sighting.REPETITION,
    ]


@pytest.mark.parametrize(
    "other", [{"ts": 1_700_000_000_000}, {"session": "s"}, {"context": {"device": "ios"}}], ids=str
)
def test_a_retry_with_another_time_session_or_context_is_a_repetition(other: dict[str, Any]) -> None:
    seen = Deduplicator(window=10)
    seen.sight(0, click("e1"))

    assert seen.sight(0, click("e1", **other)) is Sighting.REPETITION


def test_one_id_for_everything_takes_no_more_room_than_the_window() -> None:
    seen = Deduplicator(window=3)
    events = [click("user", item=f"i{number}") for number in range(5)]

    assert [seen.sight(0, event) for event in events] == [Sighting.NEW] + [Sighting.REUSED_ID] * 4
    assert len(seen) == 3
    assert [seen.sight(0, event) for event in reversed(events)] == [Sighting.REPETITION] * 3 + [Sighting.REUSED_ID] * 2


def test_ids_of_a_version_that_knew_no_more_are_loaded_and_whatever_comes_under_one_is_a_repetition() -> None:
    seen = Deduplicator(window=2)
    seen.load({"window": 2, "partitions": np.array([0]), "lengths": np.array([1]), "ids": ["e1"]})

    assert seen.sight(0, click("e1", item="other")) is Sighting.REPETITION
    assert seen.sight(0, click("e2")) is Sighting.NEW
    assert seen.sight(0, click("e2", item="other")) is Sighting.REUSED_ID


def test_partitions_have_windows_of_their_own() -> None:
    seen = Deduplicator(window=10)
    repeats(seen, 0, "e1")

    assert not repeats(seen, 1, "e1")


def test_a_window_of_zero_switches_it_off() -> None:
    seen = Deduplicator(window=0)
    repeats(seen, 0, "e1")

    assert not repeats(seen, 0, "e1")
    assert len(seen) == 0


def fed(seed: int, num_events: int, window: int = 50) -> Deduplicator:
    """Return one that has seen events of twelve partitions, a third of them repetitions."""
    seen = Deduplicator(window)
    for partition, event_id in events(seed, num_events):
        repeats(seen, partition, event_id)
    return seen


def events(seed: int, num_events: int) -> list[tuple[int, str]]:
    rng = np.random.default_rng(seed)
    partitions = rng.integers(0, 12, num_events).tolist()
    return [(p, f"é{number}") for p, number in zip(partitions, rng.integers(0, 800, num_events), strict=True)]


def test_the_oldest_id_is_forgotten_first_whatever_was_repeated() -> None:
    seen = Deduplicator(window=2)
    for event_id in ("e1", "e2", "e1", "e3"):  # the repetition does not make e1 any newer
        repeats(seen, 0, event_id)

    assert repeats(seen, 0, "e2")
    assert not repeats(seen, 0, "e1")


@pytest.mark.parametrize("cut", [0, 1, 300, 3000])
def test_a_restored_deduplicator_knows_what_the_original_knows(cut: int) -> None:
    original, copy = fed(1, cut), Deduplicator(window=50)
    copy.load(unflatten(flatten(original.state())))

    later = events(2, 3000)
    answers = [repeats(original, *event) for event in later]
    assert [repeats(copy, *event) for event in later] == answers
    assert 0 < sum(answers) < 3000
    assert digest(copy.state()) == digest(original.state())


def test_a_state_holds_ids_by_partition_number_oldest_first() -> None:
    seen = Deduplicator(window=2)
    for partition, event_id in ((10, "a"), (2, "b"), (10, "c"), (10, "d")):
        repeats(seen, partition, event_id)

    state = seen.state()

    assert {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()} == {
        "window": 2,
        "partitions": [2, 10],
        "lengths": [1, 2],
        "ids": ["b", "c", "d"],
        "prints": [event_print(click(None))] * 3,
    }


def test_the_digest_does_not_tell_in_which_order_the_partitions_came() -> None:
    one, other = Deduplicator(window=5), Deduplicator(window=5)
    for partition in (0, 1):
        repeats(one, partition, "e")
        repeats(other, 1 - partition, "e")

    assert digest(one.state()) == digest(other.state())
    assert digest(one.state()) != digest(Deduplicator(window=5).state())


def test_a_state_of_a_deduplicator_does_not_change_with_later_events() -> None:
    seen = fed(1, 1000)
    state = seen.state()
    before = digest(state)
    copy = Deduplicator(window=50)
    copy.load(state)

    for event in events(2, 1000):
        repeats(seen, *event)
        repeats(copy, *event)

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
        ("ids", ["a", "b", "b"], r"dedup/ids: expected every event of partition 7 once, got repetitions"),
        ("prints", np.array([1, 2, 3]), r"dedup/prints: expected a row of uint64, got \[3\] int64"),
        ("prints", np.array([1, 2], np.uint64), r"dedup/prints: expected one for each of 3 ids, got 2"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(part: str, value: Any, message: str) -> None:
    state = {
        "window": 2,
        "partitions": np.array([4, 7]),
        "lengths": np.array([1, 2]),
        "ids": ["a", "b", "c"],
        "prints": np.array([1, 2, 2], np.uint64),
        part: value,
    }
    seen = Deduplicator(window=2)
    repeats(seen, 0, "mine")
    before = digest(seen.state())

    with pytest.raises(StateError, match=message):
        seen.load({name: value for name, value in state.items() if value is not None})

    assert digest(seen.state()) == before
