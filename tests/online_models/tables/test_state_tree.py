"""A state as a tree, as flat arrays and as one digest."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from online_models import State, StateError, digest, flatten, is_finite, unflatten

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/:"), min_size=1, max_size=5).filter(
    lambda name: not any(c.isspace() for c in name)
)
DTYPES = st.sampled_from([np.bool_, np.int8, np.int32, np.int64, np.float32, np.float64, np.uint8])
LEAVES = st.one_of(
    DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=3, min_side=0))),
    st.lists(st.text(max_size=4), max_size=4),
    st.text(max_size=6),
    st.binary(max_size=6),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
)
STATES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4), lambda inner: st.dictionaries(NAMES, inner | LEAVES, max_size=3)
)


def same(one: object, other: object) -> bool:
    """Return whether two trees are of the same types, shapes and bits."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, float) and isinstance(other, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes()
    return type(one) is type(other) and one == other


@pytest.mark.slow
@given(STATES)
def test_what_was_flattened_comes_back_as_it_was(state: State) -> None:
    flat = flatten(state)

    assert all(isinstance(array, np.ndarray) for array in flat.values())
    assert list(flat) == sorted(flat)
    assert same(unflatten(flat), state)
    assert digest(unflatten(flat)) == digest(state)


def test_nothing_is_lost_of_empty_or_foreign_texts_and_of_parts_without_anything() -> None:
    state: State = {
        "ids": ["", "ü", "名前", "\U0001f600", "", "half \ud800"],
        "none": [],
        "text": "",
        "bytes": b"\x00\xff",
        "no_bytes": b"",
        "empty": {},
        "deep": {"er": {"rows": np.empty((0, 3), np.float32)}},
    }

    assert same(unflatten(flatten(state)), state)


def test_arrays_are_named_by_their_path() -> None:
    flat = flatten({"b": {"a": np.zeros(2)}, "a": ["xy", "z"], "c": 3})

    assert list(flat) == ["a:ends", "a:texts", "b/a", "c:int"]
    assert flat["a:ends"].tolist() == [2, 3]
    assert flat["a:texts"].tobytes() == b"xyz"


@pytest.mark.parametrize(
    "other",
    [
        {"b": np.array([0, 1], np.int32)},
        {"a": np.array([0, 1], np.int64)},
        {"a": np.array([0, 1], np.uint32)},
        {"a": np.array([[0, 1]], np.int32)},
        {"a": np.array([0, 257], np.int32)},
        {"a": np.array([0, 1], np.int32), "b": {}},
        {"a": {"a": np.array([0, 1], np.int32)}},
    ],
)
def test_the_digest_differs_with_name_type_shape_byte_and_parts(other: State) -> None:
    assert digest(other) != digest({"a": np.array([0, 1], np.int32)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a"], "a"),
        ("a", b"a"),
        ([], [""]),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ({}, []),
    ],
)
def test_the_digest_tells_values_apart_that_look_alike(one: object, other: object) -> None:
    assert digest({"a": one}) != digest({"a": other})  # type: ignore[dict-item]


def test_the_digest_is_the_same_whatever_the_order_of_names_bytes_and_memory() -> None:
    table = np.arange(6, dtype=np.int32).reshape(2, 3)
    state: State = {"x": table, "y": "text"}

    assert digest({"y": "text", "x": table}) == digest(state)
    assert digest({**state, "x": table.astype(">i4")}) == digest(state)
    assert digest({**state, "x": np.asfortranarray(table)}) == digest(state)


UINT8 = np.frombuffer(b"abc", np.uint8)
NONSENSE: dict[str, dict[str, object]] = {
    "a kind that is unknown": {"a:dict": UINT8},
    "a kind without a name": {":int": np.array([1])},
    "a name without a kind": {"a:": UINT8},
    "no name": {"": UINT8},
    "an empty branch": {"/a": UINT8},
    "an empty name in the middle": {"a//b": UINT8},
    "two kinds": {"a:int:int": np.array([1])},
    "a kind on a branch": {"a:int/b": UINT8},
    "a value and parts of one name": {"a": UINT8, "a/b": UINT8},
    "parts and a value of one name": {"a/b": UINT8, "a": UINT8},
    "no parts and parts": {"a/b": UINT8, "a:parts": np.empty(0, np.uint8)},
    "two values of one name": {"a": UINT8, "a:text": UINT8},
    "parts that hold bytes": {"a:parts": UINT8},
    "texts without ends": {"a:texts": UINT8},
    "ends without texts": {"a:ends": np.array([3])},
    "ends that decrease": {"a:texts": UINT8, "a:ends": np.array([2, 1, 3])},
    "ends below 0": {"a:texts": UINT8, "a:ends": np.array([-1, 3])},
    "ends beyond the texts": {"a:texts": UINT8, "a:ends": np.array([2, 4])},
    "ends short of the texts": {"a:texts": UINT8, "a:ends": np.array([2])},
    "no ends of some texts": {"a:texts": UINT8, "a:ends": np.empty(0, np.int64)},
    "ends that leap over the whole of a number": {"a:texts": UINT8, "a:ends": np.array([2**63 - 1, -(2**63), -1, 3])},
    "ends of another type": {"a:texts": UINT8, "a:ends": np.array([3.0])},
    "ends of another shape": {"a:texts": UINT8, "a:ends": np.array([[3]])},
    "texts of another type": {"a:texts": np.array([1, 2]), "a:ends": np.array([2])},
    "texts of another shape": {"a:texts": UINT8[None], "a:ends": np.array([3])},
    "a text that is no UTF-8": {"a:text": np.frombuffer(b"a\xff", np.uint8)},
    "an end inside a character": {"a:texts": np.frombuffer("ü".encode(), np.uint8), "a:ends": np.array([1, 2])},
    "two numbers for one": {"a:int": np.array([1, 2])},
    "no number": {"a:float": np.empty(0)},
    "a number of another type": {"a:int": np.array([1.0])},
    "a truth value of another type": {"a:bool": np.array([1])},
    "a number without a shape": {"a:int": np.array(1)},
    "objects": {"a": np.array([None])},
    "texts of numpy": {"a": np.array(["x"])},
    "no array at all": {"a": 3},
}


@pytest.mark.parametrize("name", list(NONSENSE))
def test_arrays_of_no_state_are_refused_by_name(name: str) -> None:
    flat = NONSENSE[name]

    with pytest.raises(StateError) as refused:
        unflatten(flat)  # type: ignore[arg-type]
    assert any(str(refused.value).startswith(path) for path in flat)
    assert "expected" in str(refused.value)


@given(st.binary(max_size=8), st.lists(st.integers(-2, 9), max_size=4), st.sampled_from(["texts", "text"]))
def test_whatever_the_bytes_they_are_read_or_refused(joined: bytes, ends: list[int], kind: str) -> None:
    flat = {f"a:{kind}": np.frombuffer(joined, np.uint8), "a:ends": np.array(ends, np.int64)}
    if kind == "text":
        del flat["a:ends"]
    try:
        state = unflatten(flat)
    except StateError:
        return
    assert digest(state) == digest(unflatten(flatten(state)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_noticed_wherever_it_is(bad: float) -> None:
    good: State = {"rows": np.array([2**62]), "texts": ["nan"], "deep": {"table": np.zeros((2, 2), np.float32)}}

    assert is_finite(good)
    assert not is_finite({**good, "deep": {"table": np.array([0.0, bad], np.float32)}})
    assert not is_finite({**good, "number": bad})
