"""The view: the newest list of every user, whole or not at all, and not too many."""

from stream.http.api.materialized_lists import ListView
from stream.wire.records import Record
from tests.support.servers import list_bytes


def record(user: str, value: bytes | None, offset: int = 0) -> Record:
    return Record("recommendations", 0, offset, user.encode(), value, [], 0)


def filled(*records: Record, max_users: int = 100) -> ListView:
    view = ListView(max_users)
    view.begin()
    view.apply(records)
    view.swap()
    return view


A1, A2, B1 = list_bytes("ana", 1, "x"), list_bytes("ana", 2, "y"), list_bytes("ben", 1, "x", "y")


def test_the_newest_list_of_a_user_is_held_as_it_was_published() -> None:
    view = filled(record("ana", A1), record("ben", B1), record("ana", A2))

    assert (view.get("ana"), view.get("ben"), view.get("cid")) == (A2, B1, None)
    assert (len(view), view.num_bytes) == (2, len(A2) + len(B1))


def test_a_user_whose_list_is_replaced_has_one_at_every_moment() -> None:
    view, seen = filled(record("ana", A1)), set()

    class Looking(bytes):
        """A key that looks into the view whenever the view takes it in hand, as another thread may."""

        def __hash__(self) -> int:
            seen.add(view.get("ana"))
            return hash(bytes(self))

    view.apply([Record("recommendations", 0, 1, Looking(b"ana"), A2, [], 0)])

    assert seen == {A1, A2}


def test_a_record_without_a_value_erases_the_user() -> None:
    view = filled(record("ana", A1), record("ben", B1))

    view.apply([record("ana", None), record("nobody", None)])

    assert view.get("ana") is None
    assert (len(view), view.num_bytes) == (1, len(B1))


def test_nothing_of_a_new_reading_is_shown_before_it_is_whole() -> None:
    view = filled(record("ana", A1))
    view.begin()
    view.apply([record("ben", B1), record("ana", A2)])
    assert (view.get("ana"), view.get("ben")) == (A1, None)

    view.swap()

    assert (view.get("ana"), view.get("ben")) == (A2, B1)


def test_who_was_erased_while_nobody_looked_is_gone_after_reading_again() -> None:
    view = filled(record("ana", A1), record("ben", B1))

    view.begin()
    view.apply([record("ben", B1)])
    view.swap()

    assert view.get("ana") is None
    assert view.num_bytes == len(B1)


def test_the_list_that_was_unchanged_for_the_longest_leaves_first() -> None:
    view = filled(record("ana", A1), record("ben", B1), record("ana", A2), max_users=2)

    view.apply([record("cid", A1)])

    assert (view.get("ana"), view.get("ben"), view.get("cid")) == (A2, None, A1)
    assert (view.num_dropped, view.num_bytes) == (1, len(A2) + len(A1))


def test_the_bound_holds_while_reading_from_the_beginning_too() -> None:
    view = filled(*(record(f"u{n}", A1) for n in range(10)), max_users=3)

    assert (len(view), view.num_dropped, view.num_bytes) == (3, 7, 3 * len(A1))


def test_what_is_no_list_is_counted_and_changes_nothing() -> None:
    view = filled(record("ana", A1))

    view.apply([record("ana", b"{}"), record("ana", b"\xff"), record("ana", b"")])

    assert (view.get("ana"), view.num_unreadable) == (A1, 3)


def test_who_watches_a_user_is_told_of_each_change_of_that_user_only() -> None:
    view, calls = filled(record("ana", A1)), []
    notify = lambda: calls.append(view.get("ana"))  # noqa: E731
    view.watch("ana", notify)

    view.apply([record("ben", B1), record("ana", A2), record("ana", None)])
    view.unwatch("ana", notify)
    view.apply([record("ana", A1)])

    assert calls == [A2, None]


def test_who_watches_is_told_after_a_new_reading_only_when_it_brought_a_change() -> None:
    view, calls = filled(record("ana", A1), record("ben", B1)), []
    view.watch("ana", lambda: calls.append("ana"))
    view.watch("ben", lambda: calls.append("ben"))

    view.begin()
    view.apply([record("ana", A2), record("ben", B1)])
    assert calls == []
    view.swap()

    assert calls == ["ana"]
