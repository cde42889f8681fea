"""Ids and rows: one to one, bounded, and never taken from an id of the same batch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import (
    CapacityError,
    ConfigError,
    IdIndex,
    PartitionedIndex,
    State,
    StateError,
    digest,
    flatten,
    unflatten,
)


def test_new_ids_get_the_next_rows_and_known_ids_keep_theirs() -> None:
    index = IdIndex(10)

    assert index.rows_for(["a", "b", "a"])[0].tolist() == [0, 1, 0]
    assert index.rows_for(["c", "b"])[0].tolist() == [2, 1]
    assert [index.id_of(row) for row in range(len(index))] == ["a", "b", "c"]


def test_a_full_index_gives_away_the_row_of_the_id_not_seen_for_longest() -> None:
    index = IdIndex(3)
    index.rows_for(["a", "b", "c"])
    index.rows_for(["a"])

    rows, evicted = index.rows_for(["d"])

    assert rows.tolist() == [1]
    assert evicted.tolist() == [1]
    assert index.get("b") is None
    assert index.id_of(1) == "d"
    assert index.num_evictions == 1


def test_an_id_of_the_batch_is_never_evicted_by_a_new_id_before_it_in_the_batch() -> None:
    index = IdIndex(2)
    index.rows_for(["old", "older"])
    index.rows_for(["older"])

    rows, evicted = index.rows_for(["new", "old"])

    assert rows.tolist() == [1, 0]
    assert evicted.tolist() == [1]


def test_looking_up_an_id_does_not_count_as_seeing_it() -> None:
    index = IdIndex(2)
    index.rows_for(["a", "b"])

    assert index.get("a") == 0
    assert index.rows_for(["c"])[1].tolist() == [0]


def test_a_batch_with_more_ids_than_the_index_may_hold_is_refused_and_changes_nothing() -> None:
    index = IdIndex(2)
    index.rows_for(["a"])

    with pytest.raises(CapacityError, match="at most 2 different ids, got 3"):
        index.rows_for(["x", "y", "z"])
    assert (len(index), index.get("a"), index.get("x")) == (1, 0, None)


def test_an_index_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"index\.capacity: expected >= 1, got 0"):
        IdIndex(0)
    with pytest.raises(ConfigError, match=r"index\.capacity: expected >= 4"):
        PartitionedIndex(4, 3)


def test_a_row_without_owner_has_no_id() -> None:
    with pytest.raises(IndexError, match="got 1"):
        IdIndexOf("a").id_of(1)


def IdIndexOf(*ids: str) -> IdIndex:
    index = IdIndex(10)
    index.rows_for(ids)
    return index


@given(st.lists(st.lists(st.integers(0, 12).map(str), max_size=5), max_size=30), st.integers(5, 8))
def test_rows_and_ids_stay_one_to_one_however_ids_come_and_go(batches: list[list[str]], capacity: int) -> None:
    index, owner = IdIndex(capacity), {}
    for ids in batches:
        rows, evicted = index.rows_for(ids)
        changed = {int(row) for row, id in zip(rows, ids, strict=True) if owner.get(int(row), id) != id}
        assert changed == set(evicted.tolist())
        owner.update({int(row): id for row, id in zip(rows, ids, strict=True)})
        assert len(set(owner.values())) == len(owner) == len(index) <= capacity
        assert all(index.id_of(row) == id and index.get(id) == row for row, id in owner.items())


@given(st.lists(st.lists(st.integers(0, 9).map(str), min_size=1, max_size=3), max_size=25))
def test_the_evicted_id_is_the_one_an_exact_recency_list_would_choose(batches: list[list[str]]) -> None:
    index, recency = IdIndex(4), []
    for ids in batches:
        distinct = list(dict.fromkeys(ids))
        known = [id for id in distinct if id in recency]
        recency = [id for id in recency if id not in known] + known
        for id in distinct:
            if id not in recency:
                recency = [*recency[len(recency) >= 4 :], id]
        index.rows_for(ids)
        assert {id for id in map(str, range(10)) if index.get(id) is not None} == set(recency)


def test_a_row_names_its_partition_by_its_remainder() -> None:
    index = PartitionedIndex(3, 30)

    rows, _ = index.rows_for([2, 0, 2, 1], ["a", "b", "c", "d"])

    assert rows.tolist() == [2, 0, 5, 1]
    assert [index.id_of(row) for row in (2, 0, 5, 1)] == ["a", "b", "c", "d"]
    assert (len(index), index.get(2, "c"), index.get(1, "c")) == (4, 5, None)


def test_partitions_evict_on_their_own() -> None:
    index = PartitionedIndex(2, 2)
    index.rows_for([0, 1], ["a", "b"])

    rows, evicted = index.rows_for([1], ["c"])

    assert (rows.tolist(), evicted.tolist(), index.get(0, "a")) == ([1], [1], 0)
    assert index.num_evictions == 1


BATCHES = st.lists(st.lists(st.integers(0, 12).map(str), max_size=5), max_size=20)


@given(BATCHES, BATCHES, st.integers(5, 8))
def test_a_restored_index_gives_rows_and_evicts_as_the_one_that_was_saved(
    before: list[list[str]], after: list[list[str]], capacity: int
) -> None:
    index, other = IdIndex(capacity), IdIndex(capacity)
    for ids in before:
        index.rows_for(ids)

    other.load(unflatten(flatten(index.state())))

    for ids in after:
        found = [[rows.tolist() for rows in one.rows_for(ids)] for one in (index, other)]
        assert found[0] == found[1]
    assert digest(index.state()) == digest(other.state())
    assert (len(index), index.num_evictions) == (len(other), other.num_evictions)


@given(BATCHES, st.integers(1, 3))
def test_a_restored_index_of_partitions_goes_on_as_the_one_that_was_saved(
    batches: list[list[str]], num_partitions: int
) -> None:
    index, other = PartitionedIndex(num_partitions, 20), PartitionedIndex(num_partitions, 20)
    for at, ids in enumerate(batches):
        for one in (index, other):
            one.rows_for([(at + len(id)) % num_partitions for id in ids], ids)
        if at == len(batches) // 2:
            other = PartitionedIndex(num_partitions, 20)
            other.load(unflatten(flatten(index.state())))
    assert digest(index.state()) == digest(other.state())


def test_the_state_of_an_index_is_its_ids_by_row_and_its_rows_by_recency() -> None:
    index = IdIndex(3)
    index.rows_for(["a", "ü", "c"])
    index.rows_for(["a"])
    index.rows_for(["d"])

    state = index.state()
    index.rows_for(["e"])

    assert (state["ids"], state["capacity"], state["num_evictions"]) == (["a", "d", "c"], 3, 1)
    assert np.array_equal(np.asarray(state["order"]), [2, 0, 1])


def state_of_index(**changes: object) -> State:
    none = np.empty(0, np.int64)
    state: dict[str, object] = {"capacity": 3, "ids": ["a", "b"], "order": np.array([1, 0]), "free": none}
    return {**state, "seen_ms": np.array([5, 4]), "num_evictions": 0, "num_expiries": 0, **changes}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (state_of_index(capacity=4), "capacity: expected 3, got 4"),
        (state_of_index(ids=["a", "b", "c", "d"]), "ids: expected at most 3, got 4"),
        (state_of_index(ids=["a", "a"]), "ids: expected 2 different ones, got 1"),
        (state_of_index(ids="ab"), "ids: expected a list of texts, got 'ab'"),
        (state_of_index(order=np.array([0, 0])), "order: expected each of 2 rows once, there or in free, got others"),
        (state_of_index(order=np.array([0, 2])), "order: expected each of 2 rows once, there or in free, got others"),
        (state_of_index(order=np.array([0])), "order: expected int64 [2], got int64 [1]"),
        (state_of_index(free=np.array([0])), "order: expected int64 [1], got int64 [2]"),
        (
            state_of_index(order=np.array([0]), free=np.array([0])),
            "order: expected each of 2 rows once, there or in free, got others",
        ),
        (state_of_index(seen_ms=np.array([5])), "seen_ms: expected int64 [2], got int64 [1]"),
        (state_of_index(num_expiries=-1), "num_expiries: expected a whole number >= 0, got -1"),
        (state_of_index(order=np.array([0.0, 1.0])), "order: expected int64 [2], got float64 [2]"),
        (state_of_index(num_evictions=-1), "num_evictions: expected a whole number >= 0, got -1"),
        (state_of_index(more=1), "more: expected no part of this name, got one"),
        ({"capacity": 3}, "ids: expected this part, got none"),
    ],
)
def test_a_state_of_another_index_is_refused_and_changes_nothing(state: State, message: str) -> None:
    index = IdIndex(3)
    index.rows_for(["x"])
    before = digest(index.state())

    with pytest.raises(StateError) as refused:
        index.load(state)
    assert str(refused.value) == message
    assert digest(index.state()) == before


def test_a_state_of_other_partitions_or_capacities_is_refused() -> None:
    state = PartitionedIndex(3, 30).state()

    with pytest.raises(StateError, match=r"^num_partitions: expected 4, got 3$"):
        PartitionedIndex(4, 40).load(state)
    with pytest.raises(StateError, match=r"^0/capacity: expected 9, got 10$"):
        PartitionedIndex(3, 29).load(state)
    with pytest.raises(StateError, match=r"^2: expected this part, got none$"):
        PartitionedIndex(3, 30).load({name: state[name] for name in ("num_partitions", "0", "1")})
    with pytest.raises(StateError, match=r"^num_partitions: expected this part, got none$"):
        PartitionedIndex(3, 30).load({})
    with pytest.raises(StateError, match=r"^1: expected parts, got 7$"):
        PartitionedIndex(3, 30).load({**state, "1": 7})


def test_ids_unseen_for_too_long_expire_the_longest_unseen_first_and_their_rows_are_given_out_again() -> None:
    index = IdIndex(10)
    index.rows_for(["a", "b"], now_ms=1_000)
    index.rows_for(["c"], now_ms=2_000)
    index.rows_for(["a"], now_ms=3_000)

    assert index.expire(2_000).tolist() == [1]  # b; c was seen at that very time

    assert (len(index), index.get("b"), index.num_expiries, index.num_evictions) == (2, None, 1, 0)
    with pytest.raises(IndexError, match="got 1, which was given back"):
        index.id_of(1)
    assert index.rows_for(["d", "e"], now_ms=4_000)[0].tolist() == [1, 3]
    assert index.id_of(1) == "d"


def test_expiry_leaves_as_many_ids_as_the_floor_says() -> None:
    index = IdIndex(10)
    index.rows_for(["a", "b", "c", "d"], now_ms=1)

    assert index.expire(100, floor=3).tolist() == [0]
    assert index.expire(100, floor=3).tolist() == []
    assert index.expire(100, floor=0).tolist() == [1, 2, 3]
    assert len(index) == 0


def test_a_leap_of_time_is_worked_off_a_quarter_at_a_time() -> None:
    index = IdIndex(20_000)
    index.rows_for([str(number) for number in range(20_000)], now_ms=1)

    assert [len(index.expire(2)) for _ in range(3)] == [5_000, 3_750, 2_812]


def test_of_a_large_index_ids_leave_in_blocks_whether_evicted_or_expired() -> None:
    index = IdIndex(6_400)
    index.rows_for([str(number) for number in range(6_400)], now_ms=1)
    index.rows_for(["new"], now_ms=2)  # the 100 longest unseen leave for it

    assert (len(index), index.num_evictions) == (6_301, 100)
    assert len(index.rows_for([f"n{number}" for number in range(99)], now_ms=3)[1]) == 0
    assert len(index.rows_for(["one more"], now_ms=3)[1]) == 100
    index.rows_for([str(number) for number in range(200, 6_310)], now_ms=5)
    assert len(index.expire(5)) == 191  # of which 98 were due at the least


class Counted(np.ndarray):
    """Times that know how often one of them was looked at."""

    num_looks = 0

    def __getitem__(self, row: Any) -> Any:
        Counted.num_looks += 1
        return super().__getitem__(row)


def test_until_a_block_is_due_a_batch_costs_one_look_and_not_one_for_each_id_that_is_due() -> None:
    index = IdIndex(6_400)
    index.rows_for([str(number) for number in range(99)], now_ms=1)
    index.rows_for([str(number) for number in range(99, 6_400)], now_ms=2)
    index._seen_ms = index._seen_ms.view(Counted)

    assert len(index.expire(2)) == 0  # 99 are due, and a block has 100
    assert Counted.num_looks == 1
    assert len(index.expire(3)) == 1_600


def test_no_id_of_the_batch_leaves_with_a_block() -> None:
    index = IdIndex(6_400)
    index.rows_for([str(number) for number in range(6_400)])

    _, evicted = index.rows_for([*(str(number) for number in range(6_350)), "new"])

    assert len(evicted) == 50
    assert all(index.get(str(number)) is not None for number in range(6_350))


class OracleOfIds:
    """The same by plain lists, for small indexes: whoever was seen last stands last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.seen: list[tuple[str, int]] = []

    def see(self, ids: list[str], now_ms: int) -> None:
        distinct = list(dict.fromkeys(ids))
        held = [id for id, _ in self.seen]
        known, new = [id for id in distinct if id in held], [id for id in distinct if id not in held]
        others = [pair for pair in self.seen if pair[0] not in known]
        others = others[max(len(others) + len(known) + len(new) - self.capacity, 0) :]
        self.seen = [*others, *((id, now_ms) for id in known + new)]

    def expire(self, before_ms: int, floor: int) -> None:
        while len(self.seen) > floor and self.seen[0][1] < before_ms:
            self.seen.pop(0)


IDS = st.lists(st.integers(0, 14).map(str), max_size=5)
STEPS = st.lists(st.tuples(IDS, st.integers(0, 5), st.integers(0, 12), st.integers(0, 5)), max_size=40)


@given(STEPS, st.integers(5, 9))
def test_who_is_in_after_any_inserts_evictions_expiries_and_restores_is_who_plain_lists_say(
    steps: list[tuple[list[str], int, int, int]], capacity: int
) -> None:
    index, oracle, now_ms, owner = IdIndex(capacity), OracleOfIds(capacity), 0, dict[int, str]()
    for ids, pause_ms, age_ms, floor in steps:
        now_ms += pause_ms
        rows, evicted = index.rows_for(ids, now_ms)
        owner = {row: id for row, id in owner.items() if row not in evicted}
        assert all(owner.get(row, id) == id for row, id in zip(rows.tolist(), ids, strict=True)), "taken, and not told"
        owner.update(zip(rows.tolist(), ids, strict=True))
        for row in index.expire(now_ms - age_ms, floor).tolist():
            del owner[row]
        oracle.see(ids, now_ms)
        oracle.expire(now_ms - age_ms, floor)
        if pause_ms == 3:
            restored = IdIndex(capacity)
            restored.load(unflatten(flatten(index.state())))
            assert digest(restored.state()) == digest(index.state())
            index = restored
        assert [index.id_of(row) for row in np.asarray(index.state()["order"])] == [id for id, _ in oracle.seen]
        assert owner == {index.get(id): id for id, _ in oracle.seen}
        assert all(row < capacity for row in owner)


def test_partitions_expire_under_their_common_row_numbers() -> None:
    index = PartitionedIndex(3, 30)
    index.rows_for([2, 0, 2], ["a", "b", "c"], 1)
    index.rows_for([2], ["c"], 5)

    assert sorted(index.expire(5).tolist()) == [0, 2]
    assert (len(index), index.num_expiries, index.get(2, "c")) == (1, 2, 5)
