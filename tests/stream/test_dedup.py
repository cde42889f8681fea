"""A repeated event id is recognised within the window, per partition."""

from stream.dedup import Deduplicator


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


def test_the_oldest_id_is_forgotten_first_whatever_was_repeated() -> None:
    seen = Deduplicator(window=2)
    for event_id in ("e1", "e2", "e1", "e3"):  # the repetition does not make e1 any newer
        seen.is_repetition(0, event_id)

    assert seen.is_repetition(0, "e2")
    assert not seen.is_repetition(0, "e1")
