"""A state that is not of this learner is refused by the name of the part; no other error ever comes of it."""

from dataclasses import replace

import numpy as np
import pytest

from online_models import (
    SCORERS,
    FactorizationConfig,
    LearnerConfig,
    OnlineLearner,
    SequenceConfig,
    State,
    StateError,
    TransitionsConfig,
    flatten,
    unflatten,
)
from tests.support.streams import cycle, run, small_config

SEQUENCE = SequenceConfig(width=8, state_width=8, replay_windows=2, replay_capacity_events=64)


def config_of(scorer: str, **changes: object) -> LearnerConfig:
    return small_config(scorer, **{"sequence": SEQUENCE, "owned_capacity": 8, **changes})


def state_of(scorer: str, **changes: object) -> State:
    learner = OnlineLearner(config_of(scorer, **changes))
    batch = cycle(96)
    run(learner, replace(batch, owns=np.ones(len(batch), np.bool_)), 32)
    return learner.state()


FOREIGN: dict[str, tuple[str, dict[str, object], str]] = {
    "scorer": ("sequence", {"scorer": "mf"}, "scorer: expected 'sequence', got 'mf'"),
    "seed": ("sequence", {"seed": 3}, "seed: expected 0, got 3"),
    "history length": (
        "sequence",
        {"history_length": 9},
        "histories/item_rows: expected int32 [*, 8], got int32 [8, 9]",
    ),
    "owned capacity": ("sequence", {"owned_capacity": 9}, "owned/capacity: expected 8, got 9"),
    "slots": (
        "transitions",
        {"transitions": TransitionsConfig(num_slots=8)},
        "scorers/transitions/neighbours: expected int32 [24, 16], got int32 [24, 8]",
    ),
    "width of the factors": (
        "mf",
        {"mf": FactorizationConfig(width=4)},
        "scorers/mf/users: expected float32 [8, 9], got float32 [8, 5]",
    ),
    "width of the embeddings": (
        "sequence",
        {"sequence": replace(SEQUENCE, width=4)},
        "scorers/sequence/weights/items: expected float32 [24, 8], got float32 [24, 4]",
    ),
    "width of the state": (
        "sequence",
        {"sequence": replace(SEQUENCE, state_width=4)},
        "scorers/sequence/states/table: expected float32 [8, 8], got float32 [8, 4]",
    ),
    "replay capacity": (
        "sequence",
        {"sequence": replace(SEQUENCE, replay_capacity_events=63)},
        "scorers/sequence/replay/capacity: expected 64, got 63",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FOREIGN))
def test_a_state_made_with_another_setting_is_refused_by_part(name: str) -> None:
    scorer, changes, message = FOREIGN[name]
    state = state_of(**{"scorer": scorer, **changes})  # type: ignore[arg-type]

    with pytest.raises(StateError) as refused:
        OnlineLearner(config_of(scorer)).load(state)
    assert str(refused.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_a_state_that_lacks_a_part_is_refused_by_its_name(scorer: str) -> None:
    state = state_of(scorer)
    flat = flatten(state)
    for name in flat:
        part = name.partition(":")[0]
        less = {other: array for other, array in flat.items() if other.partition(":")[0] != part}
        with pytest.raises(StateError) as refused:
            OnlineLearner(config_of(scorer)).load(unflatten(less))
        named, _, rest = str(refused.value).partition(": ")
        assert rest == "expected this part, got none"
        # With its last part a branch is gone too.
        assert named == part or (part.startswith(f"{named}/") and not any(o.startswith(f"{named}/") for o in less))


@pytest.mark.slow
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_a_state_with_a_part_too_many_is_refused_by_its_name(scorer: str) -> None:
    flat = flatten(state_of(scorer))
    branches = {name.rpartition("/")[0] for name in flat} | {"scorers", "fusion/adam"}
    if "scorers/recency:parts" in flat:
        branches.add("scorers/recency")
    for branch in branches:
        extra = f"{branch}/more" if branch else "more"
        held = {name: array for name, array in flat.items() if name != f"{branch}:parts"}
        state = unflatten({**held, extra: np.zeros(1)})
        with pytest.raises(StateError) as refused:
            OnlineLearner(config_of(scorer)).load(state)
        assert str(refused.value) == f"{extra}: expected no part of this name, got one"


WRONG = {
    "another dtype": lambda array: array.astype(np.float64 if array.dtype == np.float32 else np.float32),
    "the other byte order": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "a row less": lambda array: array[:-1],
    "a row more": lambda array: np.concatenate([array, array[-1:]]),
    "another dimension": lambda array: array[None],
    "no number": lambda array: array.reshape(-1)[:1].copy().reshape(()),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", list(WRONG))
@pytest.mark.parametrize("scorer", ["mf", "sequence"])
def test_a_table_of_another_dtype_or_shape_is_refused_by_its_name(scorer: str, how: str) -> None:
    flat = flatten(state_of(scorer))
    tables = [name for name in flat if ":" not in name and flat[name].size]
    assert len(tables) > 20
    for name in tables:
        if how == "a row less" and name == "owned/pool":
            continue  # any part of the pool is one: see the next test
        wrong = WRONG[how](flat[name])
        if wrong.dtype == flat[name].dtype and wrong.shape == flat[name].shape:
            continue  # one byte has no order
        if name == "owned/pool" and how == "a row more":
            continue
        with pytest.raises(StateError) as refused:
            OnlineLearner(config_of(scorer)).load(unflatten({**flat, name: wrong}))
        # Of two tables that must be as long as each other, either may be the one to blame.
        assert ": expected " in str(refused.value)
        if how in ("another dtype", "the other byte order", "another dimension"):
            assert str(refused.value).startswith(f"{name}: expected ")


def test_a_pool_that_does_not_hold_every_segment_is_refused() -> None:
    flat = flatten(state_of("popularity"))

    with pytest.raises(StateError, match=r"^owned/pool: expected to hold every segment, got 63 places$"):
        OnlineLearner(config_of("popularity")).load(unflatten({**flat, "owned/pool": flat["owned/pool"][:63]}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong", [None, "text", 3, -1, 2**62, True, 0.5, float("nan"), b"x", ["a"], np.zeros(3), {}, {"a": 1}]
)
@pytest.mark.parametrize("scorer", ["mf", "sequence", "recency"])
def test_whatever_stands_in_place_of_a_part_it_is_refused_or_of_the_right_kind(scorer: str, wrong: object) -> None:
    def replaced(state: State, path: tuple[str, ...]) -> State:
        inner = state[path[0]]
        rest = wrong if len(path) == 1 else replaced(inner, path[1:])  # type: ignore[arg-type]
        return {**state, path[0]: rest}  # type: ignore[dict-item]

    def paths(state: State) -> list[tuple[str, ...]]:
        found = []
        for name, value in state.items():
            found.append((name,))
            if isinstance(value, dict):
                found += [(name, *path) for path in paths(value)]
        return found

    state = state_of(scorer)
    taken = []
    for path in paths(state):
        try:
            OnlineLearner(config_of(scorer)).load(replaced(state, path))
        except StateError:
            continue
        taken.append("/".join(path))
    counts, numbers = ("total", "num_steps", "num_learned", "num_events"), ("value",)
    kinds: dict[type, tuple[str, ...]] = {int: counts, float: numbers, dict: ("recency", "reranker")}
    assert all(name.endswith(kinds.get(type(wrong), ())) for name in taken), taken
    assert not taken or not isinstance(wrong, int) or wrong >= 0
