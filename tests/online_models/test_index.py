"""Ids and rows: one to one, bounded, and never taken from an id of the same batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_models import CapacityError, ConfigError, IdIndex, PartitionedIndex


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
